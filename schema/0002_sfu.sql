-- SFU mode, guests, the state of each participant, and metrics of each call. Nothing is removed: a database
-- full of the first schema's calls keeps them, and a writer that only knows the first schema keeps working.
-- Done in steps so that nobody who writes meanwhile waits: tables are locked for changes of the catalogue only,
-- indexes are built beside the writers, and old rows get their values in batches afterwards (`tandem db backfill`).

--@ transaction
ALTER TYPE "CallStatus" ADD VALUE 'INITIATED' BEFORE 'ACTIVE';

--@ transaction
CREATE TABLE schema_backfills (
    name         text NOT NULL, -- a table
    since        timestamptz(3) NOT NULL, -- rows that have this for updatedAt were there before the column
    "lastId"     text NOT NULL DEFAULT '', -- done up to here
    "finishedAt" timestamptz(3),
    CONSTRAINT schema_backfills_pkey PRIMARY KEY (name)
);

INSERT INTO schema_backfills (name, since) VALUES ('call_sessions', CURRENT_TIMESTAMP);

ALTER TABLE call_sessions
    ALTER COLUMN "startedAt" DROP NOT NULL,
    ALTER COLUMN "startedAt" DROP DEFAULT,
    -- A value added to an enum cannot be named in the transaction that adds it; a cast at run time can be.
    ALTER COLUMN status SET DEFAULT ('INITIATED'::text)::"CallStatus",
    ADD COLUMN mode text NOT NULL DEFAULT 'p2p',
    ADD COLUMN "initiatorId" text, -- unknown in older rows, and a guest has no row in users
    ADD COLUMN "sfuRoomId" text,
    ADD COLUMN "sfuRtpCapabilities" jsonb,
    ADD COLUMN "lastModeChange" timestamptz(3),
    ADD COLUMN "modeChangeCount" integer NOT NULL DEFAULT 0,
    ADD COLUMN settings jsonb,
    ADD COLUMN "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ADD COLUMN "endReason" text,
    ADD COLUMN "endedBy" text,
    ADD COLUMN "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ADD CONSTRAINT call_sessions_mode_check CHECK (mode IN ('p2p', 'sfu')) NOT VALID;

-- The first schema gave every call a startedAt by default. Calls that ring have none yet, so the default is
-- gone; a writer that inserts or sets an ACTIVE call without the time still gets it.
CREATE FUNCTION call_sessions_started() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW."startedAt" := CURRENT_TIMESTAMP;
    RETURN NEW;
END
$$;

CREATE TRIGGER call_sessions_started BEFORE INSERT OR UPDATE OF status ON call_sessions
    FOR EACH ROW WHEN (NEW.status = 'ACTIVE' AND NEW."startedAt" IS NULL)
    EXECUTE FUNCTION call_sessions_started();

--@ transaction
ALTER TABLE call_sessions
    ADD CONSTRAINT "call_sessions_initiatorId_fkey" FOREIGN KEY ("initiatorId")
        REFERENCES users (id) ON DELETE SET NULL ON UPDATE CASCADE NOT VALID;

--@ transaction
CREATE TABLE anonymous_participants (
    id          text NOT NULL,
    name        text,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT anonymous_participants_pkey PRIMARY KEY (id)
);

INSERT INTO schema_backfills (name, since) VALUES ('call_participants', CURRENT_TIMESTAMP);

ALTER TABLE call_participants
    ALTER COLUMN "userId" DROP NOT NULL,
    ADD COLUMN "anonymousUserId" text,
    ADD COLUMN role text NOT NULL DEFAULT 'participant',
    ADD COLUMN status text NOT NULL DEFAULT 'connecting',
    ADD COLUMN "audioEnabled" boolean NOT NULL DEFAULT true,
    ADD COLUMN "videoEnabled" boolean NOT NULL DEFAULT true,
    ADD COLUMN "screenShareEnabled" boolean NOT NULL DEFAULT false,
    ADD COLUMN "sfuSendTransportId" text,
    ADD COLUMN "sfuRecvTransportId" text,
    ADD COLUMN "sfuAudioProducerId" text,
    ADD COLUMN "sfuVideoProducerId" text,
    ADD COLUMN "sfuScreenProducerId" text,
    ADD COLUMN "qualityMetrics" jsonb,
    ADD COLUMN "deviceInfo" jsonb,
    ADD COLUMN "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ADD CONSTRAINT "call_participants_anonymousUserId_fkey" FOREIGN KEY ("anonymousUserId")
        REFERENCES anonymous_participants (id) ON DELETE SET NULL ON UPDATE CASCADE NOT VALID;

--@ transaction
CREATE TABLE call_metrics (
    id                  text NOT NULL,
    "callSessionId"     text NOT NULL,
    "modeTransitions"   jsonb, -- [{from, to, timestamp, duration (s), reason, epoch, maxVideoGapMs, maxAudioGapMs}]
    "avgPacketLoss"     double precision, -- 0..1
    "avgJitter"         double precision, -- ms
    "avgRtt"            double precision, -- ms
    "avgBitrate"        double precision, -- kbps
    "peakParticipants"  integer,
    "totalParticipants" integer,
    reconnections       integer NOT NULL DEFAULT 0,
    "iceFailures"       integer NOT NULL DEFAULT 0,
    "transportErrors"   integer NOT NULL DEFAULT 0,
    "totalDataSent"     bigint, -- bytes
    "totalDataReceived" bigint,
    "createdAt"         timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"         timestamptz(3) NOT NULL,
    CONSTRAINT call_metrics_pkey PRIMARY KEY (id),
    CONSTRAINT "call_metrics_callSessionId_fkey" FOREIGN KEY ("callSessionId")
        REFERENCES call_sessions (id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE UNIQUE INDEX "call_metrics_callSessionId_key" ON call_metrics ("callSessionId");
CREATE INDEX "call_metrics_callSessionId_idx" ON call_metrics ("callSessionId");

-- The second document's names, for applications written against them.
CREATE VIEW "CallSession" AS
SELECT id AS "_id", "roomId" AS "conversationId", mode, lower(status::text) AS status,
       lower("callType"::text) AS type, "initiatorId", "sfuRoomId", "sfuRtpCapabilities", "lastModeChange",
       "modeChangeCount", settings, "createdAt", "startedAt", "endedAt", duration, "endReason", "endedBy",
       "updatedAt"
  FROM call_sessions;

CREATE VIEW "CallParticipant" AS
SELECT id AS "_id", "callSessionId", "userId", "anonymousUserId", role, status, "joinedAt", "leftAt",
       "audioEnabled", "videoEnabled", "screenShareEnabled", "sfuSendTransportId", "sfuRecvTransportId",
       "sfuAudioProducerId", "sfuVideoProducerId", "sfuScreenProducerId", "qualityMetrics", "deviceInfo",
       "updatedAt"
  FROM call_participants;

--@ alone
ALTER TABLE call_sessions VALIDATE CONSTRAINT call_sessions_mode_check;
ALTER TABLE call_sessions VALIDATE CONSTRAINT "call_sessions_initiatorId_fkey";
ALTER TABLE call_participants VALIDATE CONSTRAINT "call_participants_anonymousUserId_fkey";

CREATE INDEX CONCURRENTLY "call_sessions_createdAt_idx" ON call_sessions ("createdAt");
CREATE INDEX CONCURRENTLY "call_sessions_mode_idx" ON call_sessions (mode);
CREATE INDEX CONCURRENTLY "call_sessions_initiatorId_idx" ON call_sessions ("initiatorId");
CREATE INDEX CONCURRENTLY "CallSession_sfuRoomId_idx" ON call_sessions ("sfuRoomId");
CREATE INDEX CONCURRENTLY "CallSession_mode_status_idx" ON call_sessions (mode, status);

CREATE INDEX CONCURRENTLY "call_participants_anonymousUserId_idx" ON call_participants ("anonymousUserId");
CREATE INDEX CONCURRENTLY "call_participants_status_idx" ON call_participants (status);
CREATE INDEX CONCURRENTLY "call_participants_joinedAt_idx" ON call_participants ("joinedAt");
CREATE INDEX CONCURRENTLY "CallParticipant_sfuSendTransportId_idx" ON call_participants ("sfuSendTransportId");
CREATE INDEX CONCURRENTLY "CallParticipant_sfuAudioProducerId_idx" ON call_participants ("sfuAudioProducerId");
CREATE INDEX CONCURRENTLY "CallParticipant_sfuVideoProducerId_idx" ON call_participants ("sfuVideoProducerId");
CREATE UNIQUE INDEX CONCURRENTLY "call_participants_callSessionId_anonymousUserId_key"
    ON call_participants ("callSessionId", "anonymousUserId");
