"""What must be true of the rows at every moment, as SQL, each with what to do where it is not.

`where` picks the rows of `table` (called `t`) that are wrong. `mend` is what an UPDATE sets to make them
right, or `DELETE`; it is None where only a person can know what the truth is. Rows that another application
wrote into these tables (`serverInstanceId` is null) are held to the documents, and ours also to what Tandem
always writes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Table = Literal[
    "call_sessions",
    "call_participants",
    "call_metrics",
    "participant_aliases",
    "call_analytics",
    "call_recordings",
    "call_transcriptions",
]

DELETE = "DELETE"
RUN_CLEANUP = "run `tandem db cleanup`"
RUN_BACKFILL = "run `tandem db backfill --recompute`"

_OVER = "('ENDED', 'MISSED', 'REJECTED')"
_SFU_IDS = (
    "sfuSendTransportId",
    "sfuRecvTransportId",
    "sfuAudioProducerId",
    "sfuVideoProducerId",
    "sfuScreenProducerId",
)


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    table: Table
    says: str  # what is wrong with the rows that `where` picks
    where: str
    advice: str = RUN_CLEANUP
    mend: str | None = None


def _call(condition: str) -> str:
    """A condition on the call (`s`) of a participant or a metrics row."""
    return f'EXISTS (SELECT FROM call_sessions s WHERE s.id = t."callSessionId" AND {condition})'


_OF_A_CALL: tuple[tuple[str, Table, str], ...] = (
    ("participant", "call_participants", "a participant"),
    ("metrics", "call_metrics", "metrics"),
    ("analytics", "call_analytics", "the summary"),
    ("recording", "call_recordings", "the recording"),
    ("transcription", "call_transcriptions", "a transcription"),
)

INVARIANTS: tuple[Invariant, ...] = (
    # -- a row belongs to a call; foreign keys see to it where they have not been taken away
    *(
        Invariant(
            name=f"{name}_without_call",
            table=table,
            says=f"{what} of a call that does not exist",
            where='NOT EXISTS (SELECT FROM call_sessions s WHERE s.id = t."callSessionId")',
            mend=DELETE,
        )
        for name, table, what in _OF_A_CALL
    ),
    # -- the life of a call
    Invariant(
        name="active_call_without_start",
        table="call_sessions",
        says="an active call without startedAt",
        where="t.status = 'ACTIVE' AND t.\"startedAt\" IS NULL",
        mend='"startedAt" = t."createdAt"',
    ),
    Invariant(
        name="over_without_end",
        table="call_sessions",
        says="a call that is over without endedAt",
        where=f't.status IN {_OVER} AND t."endedAt" IS NULL',
        mend="""
            "endedAt" = GREATEST(t."startedAt", COALESCE(
                (SELECT max(GREATEST(p."leftAt", p."joinedAt")) FROM call_participants p
                  WHERE p."callSessionId" = t.id), t."updatedAt"))""",
    ),
    Invariant(
        name="open_call_with_end",
        table="call_sessions",
        says="a call that is not over has endedAt, duration or endReason",
        where="t.status IN ('INITIATED', 'ACTIVE')"
        ' AND (t."endedAt" IS NOT NULL OR t.duration IS NOT NULL OR t."endReason" IS NOT NULL)',
        advice="if the call is over set its status to ENDED, otherwise set these columns to NULL",
    ),
    Invariant(
        name="end_before_start",
        table="call_sessions",
        says="a call that ended before it started",
        where='t."endedAt" < t."startedAt"',
        advice="look for a clock that was set; correct startedAt or endedAt by hand",
    ),
    Invariant(
        name="wrong_duration",
        table="call_sessions",
        says="duration is not the whole seconds from startedAt to endedAt (one second is let pass)",
        where="""t.status = 'ENDED' AND t."endedAt" >= t."startedAt" AND (t.duration IS NULL
            OR abs(t.duration - extract(epoch FROM t."endedAt" - t."startedAt")) >= 2)""",
        mend='duration = floor(extract(epoch FROM t."endedAt" - t."startedAt"))::integer',
    ),
    Invariant(
        name="open_call_without_server",
        table="call_sessions",
        says="an open call whose server has not been seen for ten minutes",
        where="""t.status IN ('INITIATED', 'ACTIVE') AND t."serverInstanceId" IS NOT NULL AND NOT EXISTS (
            SELECT FROM server_instances i
             WHERE i.id = t."serverInstanceId" AND i."lastSeenAt" > now() - interval '10 minutes')""",
        advice="start any Tandem server on this database: it ends such calls with server_restart",
    ),
    # -- modes
    Invariant(
        name="p2p_call_with_sfu_data",
        table="call_sessions",
        says="a call in P2P mode with a router or RTP capabilities",
        where="t.mode = 'p2p' AND (t.\"sfuRoomId\" IS NOT NULL OR t.\"sfuRtpCapabilities\" IS NOT NULL)",
        mend='"sfuRoomId" = NULL, "sfuRtpCapabilities" = NULL',
    ),
    Invariant(
        name="p2p_participant_with_sfu_data",
        table="call_participants",
        says="a participant of a call in P2P mode with transports or producers",
        where="(" + " OR ".join(f't."{name}" IS NOT NULL' for name in _SFU_IDS) + ")"
        " AND " + _call("s.mode = 'p2p'"),
        mend=", ".join(f'"{name}" = NULL' for name in _SFU_IDS),
    ),
    Invariant(
        name="sfu_call_without_router",
        table="call_sessions",
        says="an active call in SFU mode without a router",
        where="t.mode = 'sfu' AND t.status = 'ACTIVE' AND t.\"sfuRoomId\" IS NULL",
        advice="set sfuRoomId from the media server, or mode to p2p if the call has left the SFU",
    ),
    Invariant(
        name="last_mode_change",
        table="call_sessions",
        says="modeChangeCount and lastModeChange contradict each other",
        where='(t."modeChangeCount" > 0) <> (t."lastModeChange" IS NOT NULL) OR t."modeChangeCount" < 0',
        advice="compare with call_metrics.modeTransitions and correct by hand",
    ),
    Invariant(
        name="transitions_counted",
        table="call_sessions",
        says="modeTransitions does not hold modeChangeCount transitions",
        where="""t."serverInstanceId" IS NOT NULL AND t."modeChangeCount" <> COALESCE(
            (SELECT jsonb_array_length(m."modeTransitions") FROM call_metrics m
              WHERE m."callSessionId" = t.id AND jsonb_typeof(m."modeTransitions") = 'array'), 0)""",
        advice="a transition was written twice or lost: report it, with the server's log of that call",
    ),
    Invariant(
        name="transitions_shape",
        table="call_metrics",
        says="modeTransitions is no array of objects that each go from one mode to the other",
        where="""jsonb_typeof(t."modeTransitions") <> 'null' AND NOT COALESCE(
            jsonb_typeof(t."modeTransitions") = 'array' AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(CASE jsonb_typeof(t."modeTransitions")
                    WHEN 'array' THEN t."modeTransitions" ELSE '[]'::jsonb END) AS e
                 WHERE NOT COALESCE(e ->> 'from' IN ('p2p', 'sfu') AND e ->> 'to' IN ('p2p', 'sfu')
                           AND e ->> 'from' <> e ->> 'to' AND e ? 'timestamp', false)), false)""",
        advice="correct the column by hand; what other applications write there must be such an array",
    ),
    Invariant(
        name="transition_doubled",
        table="call_metrics",
        says="the same transition stands twice in modeTransitions",
        where="""EXISTS (
            SELECT FROM jsonb_array_elements(CASE jsonb_typeof(t."modeTransitions")
                WHEN 'array' THEN t."modeTransitions" ELSE '[]'::jsonb END) AS e
             WHERE e ? 'epoch' GROUP BY e -> 'epoch', e -> 'timestamp' HAVING count(*) > 1)""",
        advice="report it, with the server's log of that call, and remove the second one by hand",
    ),
    Invariant(
        name="metrics_out_of_range",
        table="call_metrics",
        says="a figure that cannot be: a loss outside 0 to 1, or something negative",
        where="""t."avgPacketLoss" NOT BETWEEN 0 AND 1 OR LEAST(t."avgJitter", t."avgRtt", t."avgBitrate",
            t."peakParticipants", t."totalParticipants", t.reconnections, t."iceFailures",
            t."transportErrors", t."totalDataSent", t."totalDataReceived") < 0""",
        advice="set the figure to NULL",
    ),
    # -- the life of a participant
    Invariant(
        name="in_call_that_is_over",
        table="call_participants",
        says="a participant who is still in a call that is over",
        where=f"""(t."leftAt" IS NULL OR t.status <> 'left') AND {_call(f"s.status IN {_OVER}")}""",
        mend="""status = 'left', "screenShareEnabled" = false, "leftAt" = COALESCE(t."leftAt", (
            SELECT GREATEST(t."joinedAt", COALESCE(s."endedAt", s."updatedAt"))
              FROM call_sessions s WHERE s.id = t."callSessionId"))""",
    ),
    Invariant(
        name="left_or_not",
        table="call_participants",
        says="leftAt and status contradict each other",
        where=f"""(t."leftAt" IS NULL) = (t.status = 'left') AND {_call(f"s.status NOT IN {_OVER}")}""",
        mend="""status = 'left', "leftAt" = COALESCE(t."leftAt", GREATEST(t."joinedAt", t."updatedAt"))""",
    ),
    Invariant(
        name="left_before_joining",
        table="call_participants",
        says="a participant who left before joining",
        where='t."leftAt" < t."joinedAt"',
        advice="look for a clock that was set; correct joinedAt or leftAt by hand",
    ),
    Invariant(
        name="unknown_participant_status",
        table="call_participants",
        says="a participant's status is none of connecting, connected, reconnecting and left",
        where="t.status NOT IN ('connecting', 'connected', 'reconnecting', 'left')",
        advice="correct the application that writes it",
    ),
    Invariant(
        name="mute_not_remembered",
        table="call_participants",
        says="audio is off but wasMuted is false, or video is on but hadVideo is false",
        where="""(NOT t."audioEnabled" AND NOT t."wasMuted" OR t."videoEnabled" AND NOT t."hadVideo") AND """
        + _call('s."serverInstanceId" IS NOT NULL'),
        mend="""
            "wasMuted" = t."wasMuted" OR NOT t."audioEnabled",
            "hadVideo" = t."hadVideo" OR t."videoEnabled" """,
    ),
    Invariant(
        name="two_people_in_one",
        table="call_participants",
        says="a participant who is both a user and a guest",
        where='t."userId" IS NOT NULL AND t."anonymousUserId" IS NOT NULL',
        advice="set the one that is wrong to NULL",
    ),
    Invariant(
        name="alias_of_itself",
        table="participant_aliases",
        says="an id that names a participant and leads to another one as well",
        where='EXISTS (SELECT FROM call_participants p WHERE p.id = t.id)',
        advice="report it, with the server's log of that call",
    ),
    Invariant(
        name="negative_absence",
        table="call_participants",
        says="a participant was away for less than no time",
        where='t."awaySeconds" < 0',
        mend='"awaySeconds" = 0',
    ),
    # -- summaries, recordings, transcriptions
    Invariant(
        name="analytics_missing",
        table="call_sessions",
        says="a call that is over has no summary",
        where=f"""t.status IN {_OVER} AND t."serverInstanceId" IS NOT NULL AND NOT EXISTS (
            SELECT FROM call_analytics a WHERE a."callSessionId" = t.id)""",
        advice="run `tandem db backfill`",
    ),
    Invariant(
        name="analytics_of_open_call",
        table="call_analytics",
        says="the summary of a call that is not over",
        where=_call(f"s.status NOT IN {_OVER}"),
        mend=DELETE,
    ),
    Invariant(
        name="analytics_do_not_add_up",
        table="call_analytics",
        says="the seconds in P2P and SFU mode are not the seconds of the call (two are let pass)",
        where=_call("""s."endedAt" >= s."startedAt" AND abs(
            t."p2pSeconds" + t."sfuSeconds" - extract(epoch FROM s."endedAt" - s."startedAt")) >= 2"""),
        advice=RUN_BACKFILL,
    ),
    Invariant(
        name="recording_left_running",
        table="call_recordings",
        says="a recording that still runs an hour after its call was over",
        where="t.status IN ('starting', 'recording') AND "
        + _call(f"""s.status IN {_OVER}
            AND COALESCE(s."endedAt", s."updatedAt") < now() - interval '1 hour'"""),
        mend="status = 'failed', error = COALESCE(t.error, 'nobody finished it when the call had ended')",
    ),
    Invariant(
        name="recording_and_file",
        table="call_recordings",
        says="a recording that is ready and has no file, or is not ready and has one",
        where="(t.status = 'ready') <> (t.\"fileKey\" IS NOT NULL)",
        advice="set fileKey and fileSize, or the status to failed and fileKey to NULL",
    ),
    Invariant(
        name="transcription_of_a_stranger",
        table="call_transcriptions",
        says="a transcription of somebody who is not in that call",
        where='''NOT EXISTS (SELECT FROM call_participants p
            WHERE p.id = t."participantId" AND p."callSessionId" = t."callSessionId") AND ''' + _call("true"),
        advice="correct participantId or callSessionId by hand, or delete the row",
    ),
    Invariant(
        name="transcription_out_of_range",
        table="call_transcriptions",
        says="a transcription that ends before it begins, or a confidence outside 0 to 1",
        where='t."endedAt" < t."startedAt" OR t.confidence NOT BETWEEN 0 AND 1',
        advice="correct the application that writes it",
    ),
)  # fmt: skip
