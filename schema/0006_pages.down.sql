DROP INDEX "call_participants_userId_joinedAt_idx";
DROP INDEX "call_sessions_roomId_startedAt_idx";
