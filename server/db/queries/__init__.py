"""Every way that calls are written and read, one function each, one file a subject.

Each function is a unit of work for `Database.run(function, ...)` and takes its connection first. Rows come
back as dictionaries under the columns' own names, times as aware datetimes in UTC. `at` is Unix seconds.
"""

from server.db.queries.analytics import analytics_summary, call_analytics, refresh_call_analytics
from server.db.queries.calls import (
    active_calls,
    call_by_id,
    call_by_sfu_room,
    call_history,
    call_status,
    calls_of_user,
    create_call_session,
    end_call,
    participants_of_call,
    start_call,
    update_call_status,
)
from server.db.queries.metrics import call_metrics, mode_transition_stats, update_call_metrics
from server.db.queries.participants import (
    NewParticipant,
    add_participant,
    leave_call,
    participant_by_producer,
    participant_by_transport,
    rename_participant,
    update_participant_media,
    update_participant_quality,
    update_participant_sfu_data,
    update_participant_status,
)
from server.db.queries.people import ensure_guest, ensure_user, save_user
from server.db.queries.recordings import (
    create_recording,
    delete_recording,
    fail_recording,
    finish_recording,
    forget_leftover,
    list_recordings,
    recording_by_id,
    recording_leftovers,
    recording_of_call,
    update_recording_status,
)
from server.db.queries.switches import active_sfu_calls, record_gaps, switch_to_p2p, switch_to_sfu
from server.db.queries.transcriptions import (
    add_transcription,
    delete_transcriptions,
    transcriptions_of_call,
)

__all__ = [
    "NewParticipant",
    "active_calls",
    "active_sfu_calls",
    "add_participant",
    "add_transcription",
    "analytics_summary",
    "call_analytics",
    "call_by_id",
    "call_by_sfu_room",
    "call_history",
    "call_metrics",
    "call_status",
    "calls_of_user",
    "create_call_session",
    "create_recording",
    "delete_recording",
    "delete_transcriptions",
    "end_call",
    "ensure_guest",
    "ensure_user",
    "fail_recording",
    "finish_recording",
    "forget_leftover",
    "leave_call",
    "list_recordings",
    "mode_transition_stats",
    "participant_by_producer",
    "participant_by_transport",
    "participants_of_call",
    "record_gaps",
    "recording_by_id",
    "recording_leftovers",
    "recording_of_call",
    "refresh_call_analytics",
    "rename_participant",
    "save_user",
    "start_call",
    "switch_to_p2p",
    "switch_to_sfu",
    "transcriptions_of_call",
    "update_call_metrics",
    "update_call_status",
    "update_participant_media",
    "update_participant_quality",
    "update_participant_sfu_data",
    "update_participant_status",
    "update_recording_status",
]
