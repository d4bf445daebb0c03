-- A page of a room's calls or of a user's, latest first, is read off an index, however long the history is. The
-- plain indexes on "roomId" and "userId" find the same rows, but then all of them have to be sorted.

--@ alone
CREATE INDEX CONCURRENTLY "call_sessions_roomId_startedAt_id_idx" ON call_sessions ("roomId", "startedAt" NULLS FIRST, id);
CREATE INDEX CONCURRENTLY "call_sessions_roomId_createdAt_id_idx" ON call_sessions ("roomId", "createdAt", id);
CREATE INDEX CONCURRENTLY "call_participants_userId_joinedAt_callSessionId_idx" ON call_participants ("userId", "joinedAt", "callSessionId");
