-- Removes the calls. `users` and `chat_rooms` may be another application's by now, so they go only when they are
-- empty and as they were made.

DROP TABLE call_participants;
DROP TABLE call_sessions;
DROP TYPE "CallStatus";
DROP TYPE "CallType";

DO $$
DECLARE
    ours constant name[] := ARRAY['id', 'name', 'avatar', 'createdAt', 'updatedAt'];
    wanted name;
    filled boolean;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['users', 'chat_rooms'] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', wanted) INTO filled;
        IF NOT filled AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass(wanted::text) AND attnum > 0
               AND NOT attisdropped AND attname <> ALL (ours)
        ) THEN
            EXECUTE format('DROP TABLE %I', wanted);
        END IF;
    END LOOP;
END
$$;
