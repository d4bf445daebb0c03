-- Calls and who took part in them. `users` and `chat_rooms` hold only what the relations need: an
-- application that brings its own keeps its own columns beside these. What is there already, by another tool,
-- is left as it is: `server.db.adoption` has looked at it before.

DO $$
BEGIN
    IF to_regtype('"CallType"') IS NULL THEN
        CREATE TYPE "CallType" AS ENUM ('VIDEO', 'AUDIO');
    END IF;
    IF to_regtype('"CallStatus"') IS NULL THEN
        CREATE TYPE "CallStatus" AS ENUM ('ACTIVE', 'ENDED', 'MISSED', 'REJECTED');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS users (
    id          text NOT NULL,
    name        text,
    avatar      text,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS chat_rooms (
    id          text NOT NULL,
    name        text,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT chat_rooms_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS call_sessions (
    id          text NOT NULL,
    "roomId"    text NOT NULL,
    "callType"  "CallType" NOT NULL,
    status      "CallStatus" NOT NULL,
    "startedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "endedAt"   timestamptz(3),
    duration    integer, -- whole seconds
    CONSTRAINT call_sessions_pkey PRIMARY KEY (id),
    CONSTRAINT "call_sessions_roomId_fkey" FOREIGN KEY ("roomId")
        REFERENCES chat_rooms (id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX IF NOT EXISTS "call_sessions_roomId_idx" ON call_sessions ("roomId");
CREATE INDEX IF NOT EXISTS "call_sessions_startedAt_idx" ON call_sessions ("startedAt");
CREATE INDEX IF NOT EXISTS "call_sessions_status_idx" ON call_sessions (status);

CREATE TABLE IF NOT EXISTS call_participants (
    id              text NOT NULL,
    "callSessionId" text NOT NULL,
    "userId"        text NOT NULL,
    "joinedAt"      timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "leftAt"        timestamptz(3),
    "wasMuted"      boolean NOT NULL DEFAULT false,
    "hadVideo"      boolean NOT NULL DEFAULT false,
    CONSTRAINT call_participants_pkey PRIMARY KEY (id),
    CONSTRAINT "call_participants_callSessionId_fkey" FOREIGN KEY ("callSessionId")
        REFERENCES call_sessions (id) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "call_participants_userId_fkey" FOREIGN KEY ("userId")
        REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX IF NOT EXISTS "call_participants_userId_idx" ON call_participants ("userId");
CREATE INDEX IF NOT EXISTS "call_participants_callSessionId_idx" ON call_participants ("callSessionId");
CREATE UNIQUE INDEX IF NOT EXISTS "call_participants_callSessionId_userId_key" ON call_participants ("callSessionId", "userId");
