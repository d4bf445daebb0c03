"""What the requirements say of each table, line by line, and what the product adds (marked so)."""

from __future__ import annotations

TEXT, JSON, INT, BIG, FLOAT, BOOL = "text", "jsonb", "integer", "bigint", "double precision", "boolean"
TIME = "timestamp(3) with time zone"
NOW = "CURRENT_TIMESTAMP"

# column: (type, nullable, default)
Column = tuple[str, bool, str | None]

ENUMS_FIRST = {"CallType": ["VIDEO", "AUDIO"], "CallStatus": ["ACTIVE", "ENDED", "MISSED", "REJECTED"]}
ENUMS = {"CallType": ["VIDEO", "AUDIO"], "CallStatus": ["INITIATED", "ACTIVE", "ENDED", "MISSED", "REJECTED"]}

TABLES_FIRST: dict[str, dict[str, Column]] = {
    # database-compatibility-report.md, "Tables Created" 1
    "call_sessions": {
        "id": (TEXT, False, None),
        "roomId": (TEXT, False, None),
        "callType": ('"CallType"', False, None),
        "status": ('"CallStatus"', False, None),
        "startedAt": (TIME, False, NOW),
        "endedAt": (TIME, True, None),
        "duration": (INT, True, None),
    },
    # 2
    "call_participants": {
        "id": (TEXT, False, None),
        "callSessionId": (TEXT, False, None),
        "userId": (TEXT, False, None),
        "joinedAt": (TIME, False, NOW),
        "leftAt": (TIME, True, None),
        "wasMuted": (BOOL, False, "false"),
        "hadVideo": (BOOL, False, "false"),
    },
    # as far as its relations and examples need: id, name, avatar
    "users": {
        "id": (TEXT, False, None),
        "name": (TEXT, True, None),
        "avatar": (TEXT, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
    "chat_rooms": {
        "id": (TEXT, False, None),
        "name": (TEXT, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
}

TABLES: dict[str, dict[str, Column]] = {
    "users": TABLES_FIRST["users"],
    "chat_rooms": TABLES_FIRST["chat_rooms"],
    "call_sessions": TABLES_FIRST["call_sessions"]
    | {
        # phase-1b-schema-changes.md, "CallSession Model"; conversationId is roomId, type is callType
        "mode": (TEXT, False, "'p2p'::text"),
        "status": ('"CallStatus"', False, "('INITIATED'::text)::\"CallStatus\""),
        "initiatorId": (TEXT, True, None),
        "sfuRoomId": (TEXT, True, None),
        "sfuRtpCapabilities": (JSON, True, None),
        "lastModeChange": (TIME, True, None),
        "modeChangeCount": (INT, False, "0"),
        "settings": (JSON, True, None),
        "createdAt": (TIME, False, NOW),
        "startedAt": (TIME, True, None),
        "endReason": (TEXT, True, None),
        "endedBy": (TEXT, True, None),
        "updatedAt": (TIME, False, NOW),
        "serverInstanceId": (TEXT, True, None),  # ours
    },
    "call_participants": TABLES_FIRST["call_participants"]
    | {
        # "CallParticipant Model"
        "userId": (TEXT, True, None),
        "anonymousUserId": (TEXT, True, None),
        "role": (TEXT, False, "'participant'::text"),
        "status": (TEXT, False, "'connecting'::text"),
        "audioEnabled": (BOOL, False, "true"),
        "videoEnabled": (BOOL, False, "true"),
        "screenShareEnabled": (BOOL, False, "false"),
        "sfuSendTransportId": (TEXT, True, None),
        "sfuRecvTransportId": (TEXT, True, None),
        "sfuAudioProducerId": (TEXT, True, None),
        "sfuVideoProducerId": (TEXT, True, None),
        "sfuScreenProducerId": (TEXT, True, None),
        "qualityMetrics": (JSON, True, None),
        "deviceInfo": (JSON, True, None),
        "updatedAt": (TIME, False, NOW),
        "leftReason": (TEXT, True, None),  # ours
        "displayName": (TEXT, True, None),  # ours
        "joinCount": (INT, False, "1"),  # ours
        "awaySeconds": (FLOAT, False, "0"),  # ours
    },
    # the model that CallParticipant.anonymousUser refers to
    "anonymous_participants": {
        "id": (TEXT, False, None),
        "name": (TEXT, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
    # "CallMetrics Model"; _id is id
    "call_metrics": {
        "id": (TEXT, False, None),
        "callSessionId": (TEXT, False, None),
        "modeTransitions": (JSON, True, None),
        "avgPacketLoss": (FLOAT, True, None),
        "avgJitter": (FLOAT, True, None),
        "avgRtt": (FLOAT, True, None),
        "avgBitrate": (FLOAT, True, None),
        "peakParticipants": (INT, True, None),
        "totalParticipants": (INT, True, None),
        "reconnections": (INT, False, "0"),
        "iceFailures": (INT, False, "0"),
        "transportErrors": (INT, False, "0"),
        "totalDataSent": (BIG, True, None),
        "totalDataReceived": (BIG, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, None),
        "serverMetrics": (JSON, True, None),  # ours
    },
    # the models that CallSession.analytics, .recording and .transcriptions refer to; their columns are ours
    "call_analytics": {
        "id": (TEXT, False, None),
        "callSessionId": (TEXT, False, None),
        "outcome": (TEXT, False, None),
        "answerSeconds": (FLOAT, True, None),
        "totalParticipants": (INT, False, None),
        "peakParticipants": (INT, False, None),
        "joins": (INT, False, None),
        "reconnections": (INT, False, None),
        "participantSeconds": (FLOAT, False, None),
        "p2pSeconds": (FLOAT, False, None),
        "sfuSeconds": (FLOAT, False, None),
        "modeChanges": (INT, False, None),
        "avgSwitchSeconds": (FLOAT, True, None),
        "maxVideoGapMs": (FLOAT, True, None),
        "maxAudioGapMs": (FLOAT, True, None),
        "qualityScore": (FLOAT, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
    "call_recordings": {
        "id": (TEXT, False, None),
        "callSessionId": (TEXT, False, None),
        "status": (TEXT, False, "'starting'::text"),
        "format": (TEXT, True, None),
        "fileKey": (TEXT, True, None),
        "fileSize": (BIG, True, None),
        "duration": (INT, True, None),
        "startedBy": (TEXT, True, None),
        "stoppedBy": (TEXT, True, None),
        "startedAt": (TIME, True, None),
        "endedAt": (TIME, True, None),
        "error": (TEXT, True, None),
        "metadata": (JSON, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
    "call_transcriptions": {
        "id": (TEXT, False, None),
        "callSessionId": (TEXT, False, None),
        "participantId": (TEXT, False, None),
        "text": (TEXT, False, None),
        "language": (TEXT, True, None),
        "startedAt": (TIME, False, None),
        "endedAt": (TIME, False, None),
        "confidence": (FLOAT, True, None),
        "isFinal": (BOOL, False, "true"),
        "source": (TEXT, False, "'client'::text"),
        "segmentId": (TEXT, True, None),
        "createdAt": (TIME, False, NOW),
        "updatedAt": (TIME, False, NOW),
    },
}

INDEXES_FIRST = {
    "call_sessions_roomId_idx": 'call_sessions ("roomId")',
    "call_sessions_startedAt_idx": 'call_sessions ("startedAt")',
    "call_sessions_status_idx": "call_sessions (status)",
    "call_participants_userId_idx": 'call_participants ("userId")',
    "call_participants_callSessionId_idx": 'call_participants ("callSessionId")',
    "call_participants_callSessionId_userId_key": 'UNIQUE call_participants ("callSessionId", "userId")',
}
INDEXES = INDEXES_FIRST | {
    # names as the second document's migration.sql gives them
    "CallSession_sfuRoomId_idx": 'call_sessions ("sfuRoomId")',
    "CallSession_mode_status_idx": "call_sessions (mode, status)",
    "CallParticipant_sfuSendTransportId_idx": 'call_participants ("sfuSendTransportId")',
    "CallParticipant_sfuAudioProducerId_idx": 'call_participants ("sfuAudioProducerId")',
    "CallParticipant_sfuVideoProducerId_idx": 'call_participants ("sfuVideoProducerId")',
    "call_metrics_callSessionId_key": 'UNIQUE call_metrics ("callSessionId")',
    "call_metrics_callSessionId_idx": 'call_metrics ("callSessionId")',
    # its other @@index and @@unique lines, which name none
    "call_sessions_createdAt_idx": 'call_sessions ("createdAt")',
    "call_sessions_mode_idx": "call_sessions (mode)",
    "call_sessions_initiatorId_idx": 'call_sessions ("initiatorId")',
    "call_participants_anonymousUserId_idx": 'call_participants ("anonymousUserId")',
    "call_participants_status_idx": "call_participants (status)",
    "call_participants_joinedAt_idx": 'call_participants ("joinedAt")',
    "call_participants_callSessionId_anonymousUserId_key": (
        'UNIQUE call_participants ("callSessionId", "anonymousUserId")'
    ),
    # ours: finding a participant by a screen producer
    "call_participants_sfuScreenProducerId_idx": 'call_participants ("sfuScreenProducerId")',
    # ours: a page of a room's calls and of a user's, by the order of the pages
    "call_sessions_roomId_startedAt_id_idx": 'call_sessions ("roomId", "startedAt" NULLS FIRST, id)',
    "call_sessions_roomId_createdAt_id_idx": 'call_sessions ("roomId", "createdAt", id)',
    "call_participants_userId_joinedAt_callSessionId_idx": (
        'call_participants ("userId", "joinedAt", "callSessionId")'
    ),
    # one analytics row and one recording of a call, as its relations say; transcriptions of a call in order
    "call_analytics_callSessionId_key": 'UNIQUE call_analytics ("callSessionId")',
    "call_recordings_callSessionId_key": 'UNIQUE call_recordings ("callSessionId")',
    "call_recordings_status_idx": "call_recordings (status)",
    "call_recordings_createdAt_idx": 'call_recordings ("createdAt")',
    "call_transcriptions_callSessionId_startedAt_idx": 'call_transcriptions ("callSessionId", "startedAt")',
    "call_transcriptions_participantId_idx": 'call_transcriptions ("participantId")',
}

CASCADE = "ON UPDATE CASCADE ON DELETE CASCADE"
SET_NULL = "ON UPDATE CASCADE ON DELETE SET NULL"
KEYS_FIRST = {
    "users_pkey": "PRIMARY KEY (id)",
    "chat_rooms_pkey": "PRIMARY KEY (id)",
    "call_sessions_pkey": "PRIMARY KEY (id)",
    "call_participants_pkey": "PRIMARY KEY (id)",
    "call_sessions_roomId_fkey": f'FOREIGN KEY ("roomId") REFERENCES chat_rooms(id) {CASCADE}',
    "call_participants_callSessionId_fkey": (
        f'FOREIGN KEY ("callSessionId") REFERENCES call_sessions(id) {CASCADE}'
    ),
    "call_participants_userId_fkey": f'FOREIGN KEY ("userId") REFERENCES users(id) {CASCADE}',
}
KEYS = KEYS_FIRST | {
    "anonymous_participants_pkey": "PRIMARY KEY (id)",
    "call_metrics_pkey": "PRIMARY KEY (id)",
    "call_sessions_initiatorId_fkey": f'FOREIGN KEY ("initiatorId") REFERENCES users(id) {SET_NULL}',
    "call_participants_anonymousUserId_fkey": (
        f'FOREIGN KEY ("anonymousUserId") REFERENCES anonymous_participants(id) {SET_NULL}'
    ),
    "call_metrics_callSessionId_fkey": (
        f'FOREIGN KEY ("callSessionId") REFERENCES call_sessions(id) {CASCADE}'
    ),
    "call_analytics_pkey": "PRIMARY KEY (id)",
    "call_recordings_pkey": "PRIMARY KEY (id)",
    "call_transcriptions_pkey": "PRIMARY KEY (id)",
    "call_analytics_callSessionId_fkey": (
        f'FOREIGN KEY ("callSessionId") REFERENCES call_sessions(id) {CASCADE}'
    ),
    "call_recordings_callSessionId_fkey": (
        f'FOREIGN KEY ("callSessionId") REFERENCES call_sessions(id) {CASCADE}'
    ),
    "call_transcriptions_callSessionId_fkey": (
        f'FOREIGN KEY ("callSessionId") REFERENCES call_sessions(id) {CASCADE}'
    ),
    "call_transcriptions_participantId_fkey": (
        f'FOREIGN KEY ("participantId") REFERENCES call_participants(id) {CASCADE}'
    ),
    "call_recordings_status_check": (
        "CHECK ((status = ANY (ARRAY['starting'::text, 'recording'::text, 'processing'::text, "
        "'ready'::text, 'failed'::text, 'deleted'::text])))"
    ),
    "call_sessions_mode_check": "CHECK ((mode = ANY (ARRAY['p2p'::text, 'sfu'::text])))",  # ours
}

VIEWS = {
    "CallSession": [
        "_id",
        "conversationId",
        "mode",
        "status",
        "type",
        "initiatorId",
        "sfuRoomId",
        "sfuRtpCapabilities",
        "lastModeChange",
        "modeChangeCount",
        "settings",
        "createdAt",
        "startedAt",
        "endedAt",
        "duration",
        "endReason",
        "endedBy",
        "updatedAt",
    ],
    "CallParticipant": [
        "_id",
        "callSessionId",
        "userId",
        "anonymousUserId",
        "role",
        "status",
        "joinedAt",
        "leftAt",
        "audioEnabled",
        "videoEnabled",
        "screenShareEnabled",
        "sfuSendTransportId",
        "sfuRecvTransportId",
        "sfuAudioProducerId",
        "sfuVideoProducerId",
        "sfuScreenProducerId",
        "qualityMetrics",
        "deviceInfo",
        "updatedAt",
    ],
    # the other models, as far as they are named
    **{
        view: ["_id" if name == "id" else name for name in TABLES[table] if name != "serverMetrics"]
        for view, table in {
            "CallMetrics": "call_metrics",
            "CallAnalytics": "call_analytics",
            "CallRecording": "call_recordings",
            "CallTranscription": "call_transcriptions",
            "AnonymousParticipant": "anonymous_participants",
        }.items()
    },
}
