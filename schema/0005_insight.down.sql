-- Summaries can be made again; recordings' and transcriptions' rows are lost, the recorded files themselves are not.

DROP TRIGGER call_session_view_write ON "CallSession";
DROP FUNCTION call_session_view_write();
ALTER VIEW "CallSession" ALTER COLUMN "_id" DROP DEFAULT;
ALTER VIEW "CallSession" ALTER COLUMN status DROP DEFAULT;
ALTER VIEW "CallSession" ALTER COLUMN "modeChangeCount" DROP DEFAULT;
ALTER VIEW "CallSession" ALTER COLUMN "createdAt" DROP DEFAULT;
ALTER VIEW "CallSession" ALTER COLUMN "updatedAt" DROP DEFAULT;
ALTER VIEW "CallParticipant" ALTER COLUMN "_id" DROP DEFAULT;
DROP VIEW "AnonymousParticipant", "CallMetrics", "CallAnalytics", "CallRecording", "CallTranscription";

DROP TRIGGER call_sessions_analytics ON call_sessions;
DROP FUNCTION call_analytics_due();
DROP FUNCTION call_analytics_refresh(text);
DROP FUNCTION call_time(text);

ALTER TABLE call_participants DROP COLUMN "awaySeconds", DROP COLUMN "joinCount", DROP COLUMN "displayName";
ALTER TABLE call_metrics DROP COLUMN "serverMetrics";
DROP TABLE call_transcriptions;
DROP TABLE call_recordings;
DROP FUNCTION call_recordings_leftover();
DROP TABLE recording_leftovers;
DROP TABLE call_analytics;
DROP FUNCTION call_new_id();
