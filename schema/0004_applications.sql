-- What other applications write into these tables means what it meant to them.

-- A writer that only knows the first schema sets leftAt; the status that came later follows.
--@ transaction
CREATE FUNCTION call_participants_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status := 'left';
    RETURN NEW;
END
$$;

CREATE TRIGGER call_participants_left BEFORE INSERT OR UPDATE OF "leftAt" ON call_participants
    FOR EACH ROW WHEN (NEW."leftAt" IS NOT NULL AND NEW.status <> 'left')
    EXECUTE FUNCTION call_participants_left();

-- The second document appends to modeTransitions with {"push": element}, which its database knew by itself.
--@ transaction
CREATE FUNCTION call_metrics_push() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW."modeTransitions" :=
        CASE jsonb_typeof(OLD."modeTransitions") WHEN 'array' THEN OLD."modeTransitions" ELSE '[]'::jsonb END
        || jsonb_build_array(NEW."modeTransitions" -> 'push');
    RETURN NEW;
END
$$;

CREATE TRIGGER call_metrics_push BEFORE UPDATE OF "modeTransitions" ON call_metrics
    FOR EACH ROW WHEN (jsonb_typeof(NEW."modeTransitions") = 'object' AND NEW."modeTransitions" ? 'push')
    EXECUTE FUNCTION call_metrics_push();
