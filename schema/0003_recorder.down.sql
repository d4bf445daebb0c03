DROP INDEX "call_participants_sfuScreenProducerId_idx";
DROP TABLE participant_aliases;
ALTER TABLE call_participants DROP COLUMN "leftReason";
ALTER TABLE call_sessions DROP COLUMN "serverInstanceId";
DROP TABLE change_streams;
DROP TABLE server_instances;
