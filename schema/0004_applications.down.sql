DROP TRIGGER call_metrics_push ON call_metrics;
DROP FUNCTION call_metrics_push();
DROP TRIGGER call_participants_left ON call_participants;
DROP FUNCTION call_participants_left();
