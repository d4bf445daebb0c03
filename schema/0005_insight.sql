-- What is known of a call beyond its course: a summary for dashboards (call_analytics), its recording and its
-- transcriptions. And views that can be written to under the second document's names.

-- Ids for rows that are made here or through the views; Tandem and Prisma bring their own.
--@ transaction
CREATE FUNCTION call_new_id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT 'c' || left(replace(gen_random_uuid()::text, '-', ''), 24)
$$;

--@ transaction
CREATE TABLE call_analytics (
    id                   text NOT NULL,
    "callSessionId"      text NOT NULL,
    outcome              text NOT NULL, -- completed, unanswered, rejected, alone, failed
    "answerSeconds"      double precision, -- from createdAt to startedAt; null if it never started
    "totalParticipants"  integer NOT NULL, -- different people
    "peakParticipants"   integer NOT NULL, -- at the same time
    joins                integer NOT NULL, -- a person who came twice counts twice
    reconnections        integer NOT NULL,
    "participantSeconds" double precision NOT NULL, -- of all people together, without the time they were away
    "p2pSeconds"         double precision NOT NULL, -- from startedAt to endedAt, by mode
    "sfuSeconds"         double precision NOT NULL,
    "modeChanges"        integer NOT NULL,
    "avgSwitchSeconds"   double precision, -- from the decision to the commit
    "maxVideoGapMs"      double precision, -- the largest that a client measured at any switch
    "maxAudioGapMs"      double precision,
    "qualityScore"       double precision, -- 1 (bad) to 4.5 (excellent), from loss, delay and jitter
    "createdAt"          timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"          timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT call_analytics_pkey PRIMARY KEY (id),
    CONSTRAINT "call_analytics_callSessionId_fkey" FOREIGN KEY ("callSessionId")
        REFERENCES call_sessions (id) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE UNIQUE INDEX "call_analytics_callSessionId_key" ON call_analytics ("callSessionId");

--@ transaction
CREATE TABLE call_recordings (
    id              text NOT NULL,
    "callSessionId" text NOT NULL,
    status          text NOT NULL DEFAULT 'starting',
    format          text, -- webm, mp4, …
    "fileKey"       text, -- where the file is, in the words of the store that keeps it
    "fileSize"      bigint, -- bytes
    duration        integer, -- whole seconds
    "startedBy"     text, -- a user's id
    "stoppedBy"     text,
    "startedAt"     timestamptz(3), -- of the first recorded moment
    "endedAt"       timestamptz(3),
    error           text, -- why it failed
    metadata        jsonb,
    "createdAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT call_recordings_pkey PRIMARY KEY (id),
    CONSTRAINT "call_recordings_callSessionId_fkey" FOREIGN KEY ("callSessionId")
        REFERENCES call_sessions (id) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT call_recordings_status_check
        CHECK (status IN ('starting', 'recording', 'processing', 'ready', 'failed', 'deleted'))
);
-- The second document's relation is `recording CallRecording?`: a call has one at most.
CREATE UNIQUE INDEX "call_recordings_callSessionId_key" ON call_recordings ("callSessionId");
CREATE INDEX "call_recordings_status_idx" ON call_recordings (status);
CREATE INDEX "call_recordings_createdAt_idx" ON call_recordings ("createdAt");

-- Files whose row is gone, or names another file: whoever keeps the files removes them, and then the row here.
CREATE TABLE recording_leftovers (
    "fileKey"   text NOT NULL,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT recording_leftovers_pkey PRIMARY KEY ("fileKey")
);

CREATE FUNCTION call_recordings_leftover() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO recording_leftovers ("fileKey") VALUES (OLD."fileKey") ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER call_recordings_removed AFTER DELETE ON call_recordings
    FOR EACH ROW WHEN (OLD."fileKey" IS NOT NULL) EXECUTE FUNCTION call_recordings_leftover();
CREATE TRIGGER call_recordings_replaced AFTER UPDATE OF "fileKey" ON call_recordings
    FOR EACH ROW WHEN (OLD."fileKey" IS NOT NULL AND OLD."fileKey" IS DISTINCT FROM NEW."fileKey")
    EXECUTE FUNCTION call_recordings_leftover();

--@ transaction
CREATE TABLE call_transcriptions (
    id              text NOT NULL,
    "callSessionId" text NOT NULL,
    "participantId" text NOT NULL, -- who spoke
    text            text NOT NULL,
    language        text, -- BCP 47
    "startedAt"     timestamptz(3) NOT NULL,
    "endedAt"       timestamptz(3) NOT NULL,
    confidence      double precision, -- 0..1
    "isFinal"       boolean NOT NULL DEFAULT true,
    source          text NOT NULL DEFAULT 'client', -- client, server, or an application's own word
    "segmentId"     text, -- as the speaker's client named it
    "createdAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"     timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT call_transcriptions_pkey PRIMARY KEY (id),
    CONSTRAINT "call_transcriptions_callSessionId_fkey" FOREIGN KEY ("callSessionId")
        REFERENCES call_sessions (id) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "call_transcriptions_participantId_fkey" FOREIGN KEY ("participantId")
        REFERENCES call_participants (id) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE INDEX "call_transcriptions_callSessionId_startedAt_idx" ON call_transcriptions ("callSessionId", "startedAt");
CREATE INDEX "call_transcriptions_participantId_idx" ON call_transcriptions ("participantId");

--@ transaction
ALTER TABLE call_metrics ADD COLUMN "serverMetrics" jsonb; -- what the media server itself measured

--@ transaction
ALTER TABLE call_participants
    ADD COLUMN "displayName" text, -- as the others saw it last
    ADD COLUMN "joinCount" integer NOT NULL DEFAULT 1,
    ADD COLUMN "awaySeconds" double precision NOT NULL DEFAULT 0; -- between leaving and coming again

-- -- the summary

--@ transaction
CREATE FUNCTION call_time(said text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN said::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL; -- other applications write times there as well
END
$$;

-- One row of a call that is over from the rows that it left; none of one that is not. Repeating it is harmless.
CREATE FUNCTION call_analytics_refresh(call_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c call_sessions%ROWTYPE;
    m call_metrics%ROWTYPE;
    transitions jsonb := '[]';
    people integer;
    peak integer;
    arrivals integer;
    present double precision;
    in_p2p double precision := 0;
    in_sfu double precision := 0;
    score double precision;
    delay double precision;
BEGIN
    SELECT * INTO c FROM call_sessions WHERE id = call_id;
    IF NOT FOUND OR c.status::text NOT IN ('ENDED', 'MISSED', 'REJECTED') THEN
        DELETE FROM call_analytics WHERE "callSessionId" = call_id;
        RETURN;
    END IF;
    SELECT * INTO m FROM call_metrics WHERE "callSessionId" = call_id;
    IF jsonb_typeof(m."modeTransitions") = 'array' THEN
        transitions := m."modeTransitions";
    END IF;

    SELECT count(*), COALESCE(sum(p."joinCount"), 0),
           COALESCE(sum(GREATEST(0, extract(epoch FROM COALESCE(p."leftAt", c."endedAt", p."joinedAt") - p."joinedAt")
                                    - p."awaySeconds")), 0)
      INTO people, arrivals, present
      FROM call_participants p WHERE p."callSessionId" = call_id;

    IF m."peakParticipants" IS NOT NULL THEN
        peak := m."peakParticipants"; -- the server counted; rows do not tell when somebody was away
    ELSE
        SELECT COALESCE(max(n), 0) INTO peak FROM (
            SELECT sum(step) OVER (ORDER BY at, step) AS n FROM (
                SELECT "joinedAt" AS at, 1 AS step FROM call_participants WHERE "callSessionId" = call_id
                UNION ALL
                SELECT "leftAt", -1 FROM call_participants WHERE "callSessionId" = call_id AND "leftAt" IS NOT NULL
            ) AS steps) AS counts;
    END IF;

    IF c."startedAt" IS NOT NULL AND c."endedAt" > c."startedAt" THEN
        SELECT COALESCE(sum(seconds) FILTER (WHERE mode = 'p2p'), 0),
               COALESCE(sum(seconds) FILTER (WHERE mode = 'sfu'), 0)
          INTO in_p2p, in_sfu
          FROM (SELECT mode, GREATEST(0, extract(epoch FROM
                           lead(at, 1, c."endedAt"::timestamptz) OVER (ORDER BY n) - at)) AS seconds
                  FROM (SELECT 0 AS n, c."startedAt"::timestamptz AS at,
                               COALESCE(transitions -> 0 ->> 'from', c.mode) AS mode
                        UNION ALL
                        SELECT n, LEAST(GREATEST(call_time(e ->> 'timestamp'), c."startedAt"), c."endedAt"), e ->> 'to'
                          FROM jsonb_array_elements(transitions) WITH ORDINALITY AS t (e, n)
                         WHERE call_time(e ->> 'timestamp') IS NOT NULL) AS points) AS spans;
    END IF;

    -- The simplified E-model (ITU-T G.107): R from delay, jitter and loss, and the mean opinion score of R.
    IF m."avgPacketLoss" IS NOT NULL OR m."avgRtt" IS NOT NULL THEN
        delay := COALESCE(m."avgRtt", 0) / 2 + 2 * COALESCE(m."avgJitter", 0) + 10; -- ms, one way
        score := 93.2 - CASE WHEN delay < 160 THEN delay / 40 ELSE (delay - 120) / 10 END
                 - 250 * COALESCE(m."avgPacketLoss", 0);
        score := LEAST(GREATEST(score, 0), 100);
        score := GREATEST(1, 1 + 0.035 * score + 7e-6 * score * (score - 60) * (100 - score));
    END IF;

    INSERT INTO call_analytics AS a (id, "callSessionId", outcome, "answerSeconds", "totalParticipants",
        "peakParticipants", joins, reconnections, "participantSeconds", "p2pSeconds", "sfuSeconds", "modeChanges",
        "avgSwitchSeconds", "maxVideoGapMs", "maxAudioGapMs", "qualityScore", "createdAt", "updatedAt")
    SELECT call_new_id(), call_id,
           CASE WHEN c."endReason" IN ('server_error', 'server_restart') THEN 'failed'
                WHEN c.status::text = 'MISSED' THEN 'unanswered'
                WHEN c.status::text = 'REJECTED' THEN 'rejected'
                WHEN people < 2 THEN 'alone'
                ELSE 'completed' END,
           CASE WHEN c."startedAt" IS NOT NULL THEN GREATEST(0, extract(epoch FROM c."startedAt" - c."createdAt")) END,
           people, peak, arrivals,
           COALESCE(m.reconnections, 0), present, in_p2p, in_sfu, c."modeChangeCount",
           avg(CASE jsonb_typeof(e -> 'duration') WHEN 'number' THEN (e ->> 'duration')::float8 END),
           max(CASE jsonb_typeof(e -> 'maxVideoGapMs') WHEN 'number' THEN (e ->> 'maxVideoGapMs')::float8 END),
           max(CASE jsonb_typeof(e -> 'maxAudioGapMs') WHEN 'number' THEN (e ->> 'maxAudioGapMs')::float8 END),
           score, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
      FROM (SELECT) AS one LEFT JOIN jsonb_array_elements(transitions) AS t (e) ON true
    ON CONFLICT ("callSessionId") DO UPDATE
       SET outcome = excluded.outcome, "answerSeconds" = excluded."answerSeconds",
           "totalParticipants" = excluded."totalParticipants", "peakParticipants" = excluded."peakParticipants",
           joins = excluded.joins, reconnections = excluded.reconnections,
           "participantSeconds" = excluded."participantSeconds", "p2pSeconds" = excluded."p2pSeconds",
           "sfuSeconds" = excluded."sfuSeconds", "modeChanges" = excluded."modeChanges",
           "avgSwitchSeconds" = excluded."avgSwitchSeconds", "maxVideoGapMs" = excluded."maxVideoGapMs",
           "maxAudioGapMs" = excluded."maxAudioGapMs", "qualityScore" = excluded."qualityScore",
           "updatedAt" = excluded."updatedAt";
END
$$;

CREATE FUNCTION call_analytics_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM call_analytics_refresh(NEW.id);
    RETURN NULL;
END
$$;

-- At the commit, so that it sees all that the transaction which ends the call has to say. Other applications'
-- calls get theirs too. Calls that are imported as over get theirs by `tandem db backfill`.
--@ transaction
CREATE CONSTRAINT TRIGGER call_sessions_analytics
    AFTER UPDATE OF status, "startedAt", "endedAt" ON call_sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD."startedAt" IS DISTINCT FROM NEW."startedAt"
                       OR OLD."endedAt" IS DISTINCT FROM NEW."endedAt")
    EXECUTE FUNCTION call_analytics_due();

-- -- the views of the second document, for applications that read and write under its names

--@ transaction
CREATE VIEW "CallTranscription" AS
SELECT id AS "_id", "callSessionId", "participantId", text, language, "startedAt", "endedAt", confidence, "isFinal",
       source, "segmentId", "createdAt", "updatedAt"
  FROM call_transcriptions;

CREATE VIEW "CallRecording" AS
SELECT id AS "_id", "callSessionId", status, format, "fileKey", "fileSize", duration, "startedBy", "stoppedBy",
       "startedAt", "endedAt", error, metadata, "createdAt", "updatedAt"
  FROM call_recordings;

CREATE VIEW "CallAnalytics" AS
SELECT id AS "_id", "callSessionId", outcome, "answerSeconds", "totalParticipants", "peakParticipants", joins,
       reconnections, "participantSeconds", "p2pSeconds", "sfuSeconds", "modeChanges", "avgSwitchSeconds",
       "maxVideoGapMs", "maxAudioGapMs", "qualityScore", "createdAt", "updatedAt"
  FROM call_analytics;

CREATE VIEW "CallMetrics" AS
SELECT id AS "_id", "callSessionId", "modeTransitions", "avgPacketLoss", "avgJitter", "avgRtt", "avgBitrate",
       "peakParticipants", "totalParticipants", reconnections, "iceFailures", "transportErrors", "totalDataSent",
       "totalDataReceived", "createdAt", "updatedAt"
  FROM call_metrics;

CREATE VIEW "AnonymousParticipant" AS
SELECT id AS "_id", name, "createdAt", "updatedAt" FROM anonymous_participants;

-- `_id` is @default(auto()) in the document. The other columns of these views have their tables' defaults.
ALTER VIEW "CallParticipant" ALTER COLUMN "_id" SET DEFAULT call_new_id();
ALTER VIEW "CallTranscription" ALTER COLUMN "_id" SET DEFAULT call_new_id();
ALTER VIEW "CallRecording" ALTER COLUMN "_id" SET DEFAULT call_new_id();
ALTER VIEW "CallMetrics" ALTER COLUMN "_id" SET DEFAULT call_new_id();
ALTER VIEW "CallMetrics" ALTER COLUMN "updatedAt" SET DEFAULT CURRENT_TIMESTAMP;
ALTER VIEW "AnonymousParticipant" ALTER COLUMN "_id" SET DEFAULT call_new_id();

-- "CallSession" computes status and type, so PostgreSQL cannot write through it by itself.
ALTER VIEW "CallSession" ALTER COLUMN "_id" SET DEFAULT call_new_id();
ALTER VIEW "CallSession" ALTER COLUMN status SET DEFAULT 'initiated';
ALTER VIEW "CallSession" ALTER COLUMN "modeChangeCount" SET DEFAULT 0;
ALTER VIEW "CallSession" ALTER COLUMN "createdAt" SET DEFAULT CURRENT_TIMESTAMP;
ALTER VIEW "CallSession" ALTER COLUMN "updatedAt" SET DEFAULT CURRENT_TIMESTAMP;

CREATE FUNCTION call_session_view_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM call_sessions WHERE id = OLD."_id";
        RETURN CASE WHEN FOUND THEN OLD END;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO call_sessions (id, "roomId", mode, status, "callType", "initiatorId", "sfuRoomId",
            "sfuRtpCapabilities", "lastModeChange", "modeChangeCount", settings, "createdAt", "startedAt", "endedAt",
            duration, "endReason", "endedBy", "updatedAt")
        VALUES (NEW."_id", NEW."conversationId", NEW.mode, upper(NEW.status)::"CallStatus", upper(NEW.type)::"CallType",
            NEW."initiatorId", NEW."sfuRoomId", NEW."sfuRtpCapabilities", NEW."lastModeChange", NEW."modeChangeCount",
            NEW.settings, NEW."createdAt", NEW."startedAt", NEW."endedAt", NEW.duration, NEW."endReason",
            NEW."endedBy", NEW."updatedAt")
        RETURNING "startedAt" INTO NEW."startedAt"; -- an active call has one
    ELSE
        -- Only what the statement changed, so that what others have written since it began to read stays.
        UPDATE call_sessions AS t
           SET id = NEW."_id",
               "roomId" = CASE WHEN NEW."conversationId" IS DISTINCT FROM OLD."conversationId"
                   THEN NEW."conversationId" ELSE t."roomId" END,
               mode = CASE WHEN NEW.mode IS DISTINCT FROM OLD.mode THEN NEW.mode ELSE t.mode END,
               status = CASE WHEN NEW.status IS DISTINCT FROM OLD.status
                   THEN upper(NEW.status)::"CallStatus" ELSE t.status END,
               "callType" = CASE WHEN NEW.type IS DISTINCT FROM OLD.type
                   THEN upper(NEW.type)::"CallType" ELSE t."callType" END,
               "initiatorId" = CASE WHEN NEW."initiatorId" IS DISTINCT FROM OLD."initiatorId"
                   THEN NEW."initiatorId" ELSE t."initiatorId" END,
               "sfuRoomId" = CASE WHEN NEW."sfuRoomId" IS DISTINCT FROM OLD."sfuRoomId"
                   THEN NEW."sfuRoomId" ELSE t."sfuRoomId" END,
               "sfuRtpCapabilities" = CASE WHEN NEW."sfuRtpCapabilities" IS DISTINCT FROM OLD."sfuRtpCapabilities"
                   THEN NEW."sfuRtpCapabilities" ELSE t."sfuRtpCapabilities" END,
               "lastModeChange" = CASE WHEN NEW."lastModeChange" IS DISTINCT FROM OLD."lastModeChange"
                   THEN NEW."lastModeChange" ELSE t."lastModeChange" END,
               settings = CASE WHEN NEW.settings IS DISTINCT FROM OLD.settings
                   THEN NEW.settings ELSE t.settings END,
               "createdAt" = CASE WHEN NEW."createdAt" IS DISTINCT FROM OLD."createdAt"
                   THEN NEW."createdAt" ELSE t."createdAt" END,
               "startedAt" = CASE WHEN NEW."startedAt" IS DISTINCT FROM OLD."startedAt"
                   THEN NEW."startedAt" ELSE t."startedAt" END,
               "endedAt" = CASE WHEN NEW."endedAt" IS DISTINCT FROM OLD."endedAt"
                   THEN NEW."endedAt" ELSE t."endedAt" END,
               duration = CASE WHEN NEW.duration IS DISTINCT FROM OLD.duration
                   THEN NEW.duration ELSE t.duration END,
               "endReason" = CASE WHEN NEW."endReason" IS DISTINCT FROM OLD."endReason"
                   THEN NEW."endReason" ELSE t."endReason" END,
               "endedBy" = CASE WHEN NEW."endedBy" IS DISTINCT FROM OLD."endedBy"
                   THEN NEW."endedBy" ELSE t."endedBy" END,
               "modeChangeCount" = t."modeChangeCount" + NEW."modeChangeCount" - OLD."modeChangeCount",
               "updatedAt" = CASE WHEN NEW."updatedAt" IS DISTINCT FROM OLD."updatedAt"
                                  THEN NEW."updatedAt" ELSE CURRENT_TIMESTAMP END
         WHERE t.id = OLD."_id"
        RETURNING "startedAt", "updatedAt" INTO NEW."startedAt", NEW."updatedAt";
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER call_session_view_write INSTEAD OF INSERT OR UPDATE OR DELETE ON "CallSession"
    FOR EACH ROW EXECUTE FUNCTION call_session_view_write();
