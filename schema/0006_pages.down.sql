DROP INDEX "call_participants_userId_joinedAt_callSessionId_idx";
DROP INDEX "call_sessions_roomId_createdAt_id_idx";
DROP INDEX "call_sessions_roomId_startedAt_id_idx";
