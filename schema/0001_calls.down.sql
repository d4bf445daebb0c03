-- Removes the calls. `users` and `chat_rooms` may be another application's by now, so they go only when empty.

DROP TABLE call_participants;
DROP TABLE call_sessions;
DROP TYPE "CallStatus";
DROP TYPE "CallType";

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM users) THEN
        DROP TABLE users;
    END IF;
    IF NOT EXISTS (SELECT FROM chat_rooms) THEN
        DROP TABLE chat_rooms;
    END IF;
END
$$;
