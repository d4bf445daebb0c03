-- What the server needs to keep the records right by itself: which server process owns a call, when that
-- process was last alive, and how far its stream of changes has been written (exactly once).

--@ transaction
CREATE TABLE server_instances (
    id           text NOT NULL,
    "nodeId"     text NOT NULL, -- the data directory; a later process of the same node is its successor
    "startedAt"  timestamptz(3) NOT NULL,
    "lastSeenAt" timestamptz(3) NOT NULL,
    "stoppedAt"  timestamptz(3),
    CONSTRAINT server_instances_pkey PRIMARY KEY (id)
);

CREATE INDEX "server_instances_nodeId_idx" ON server_instances ("nodeId");

CREATE TABLE change_streams (
    id      text NOT NULL, -- a server instance
    applied bigint NOT NULL DEFAULT 0, -- every change up to this number is in the tables
    CONSTRAINT change_streams_pkey PRIMARY KEY (id)
);

--@ transaction
ALTER TABLE call_sessions ADD COLUMN "serverInstanceId" text;
--@ transaction
ALTER TABLE call_participants ADD COLUMN "leftReason" text;

-- A user who joins a call again keeps the first row; changes that name the second id find it here.
CREATE TABLE participant_aliases (
    id              text NOT NULL,
    "participantId" text NOT NULL,
    CONSTRAINT participant_aliases_pkey PRIMARY KEY (id),
    CONSTRAINT "participant_aliases_participantId_fkey" FOREIGN KEY ("participantId")
        REFERENCES call_participants (id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX "participant_aliases_participantId_idx" ON participant_aliases ("participantId");

--@ alone
CREATE INDEX CONCURRENTLY "call_participants_sfuScreenProducerId_idx" ON call_participants ("sfuScreenProducerId");
