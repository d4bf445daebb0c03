-- Calls and who took part in them. `users` and `chat_rooms` hold only what the relations need: an
-- application that brings its own keeps its own columns beside these.

CREATE TYPE "CallType" AS ENUM ('VIDEO', 'AUDIO');
CREATE TYPE "CallStatus" AS ENUM ('ACTIVE', 'ENDED', 'MISSED', 'REJECTED');

CREATE TABLE users (
    id          text NOT NULL,
    name        text,
    avatar      text,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE TABLE chat_rooms (
    id          text NOT NULL,
    name        text,
    "createdAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT chat_rooms_pkey PRIMARY KEY (id)
);

CREATE TABLE call_sessions (
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

CREATE INDEX "call_sessions_roomId_idx" ON call_sessions ("roomId");
CREATE INDEX "call_sessions_startedAt_idx" ON call_sessions ("startedAt");
CREATE INDEX "call_sessions_status_idx" ON call_sessions (status);

CREATE TABLE call_participants (
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

CREATE INDEX "call_participants_userId_idx" ON call_participants ("userId");
CREATE INDEX "call_participants_callSessionId_idx" ON call_participants ("callSessionId");
CREATE UNIQUE INDEX "call_participants_callSessionId_userId_key" ON call_participants ("callSessionId", "userId");
