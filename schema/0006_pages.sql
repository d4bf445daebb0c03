-- A page of a room's history or of a user's calls, latest first, is read off an index, however long the history
-- is. The plain indexes on "roomId" and "userId" find the same rows, but all of them have to be sorted then.

--@ alone
CREATE INDEX CONCURRENTLY "call_sessions_roomId_startedAt_idx" ON call_sessions ("roomId", "startedAt" DESC NULLS LAST, id DESC);
CREATE INDEX CONCURRENTLY "call_participants_userId_joinedAt_idx" ON call_participants ("userId", "joinedAt" DESC, "callSessionId" DESC);
