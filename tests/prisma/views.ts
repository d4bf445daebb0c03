// The second document's own code, under its own names, through the views.
import { PrismaPg } from "@prisma/adapter-pg";
import { Prisma, PrismaClient } from "./generated-views/client.js";

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });
const [conversationId, initiatorId] = ["conversation", "user-1"];

const created = await prisma.callSession.create({
  data: { conversationId, initiatorId, mode: "p2p", type: "video", status: "initiated" },
});
const callId = created.id;
await prisma.callParticipant.create({ data: { callSessionId: callId, userId: "user-1" } });
await prisma.callParticipant.create({
  data: { callSession: { connect: { id: callId } }, anonymousUser: { create: { name: "Gus" } } },
});
await prisma.callParticipant.updateMany({ where: { callSessionId: callId }, data: { status: "connected" } });
await prisma.callSession.update({ where: { id: callId }, data: { status: "active" } });

const now = new Date();
await prisma.callSession.update({
  where: { id: callId },
  data: {
    mode: "sfu",
    sfuRoomId: "router-abc123",
    sfuRtpCapabilities: { codecs: [] },
    lastModeChange: now,
    modeChangeCount: { increment: 1 },
  },
});
const transition = { from: "p2p", to: "sfu", timestamp: now.toISOString(), reason: "participant_joined" };
await prisma.callMetrics.upsert({
  where: { callSessionId: callId },
  create: { callSessionId: callId, modeTransitions: [transition] },
  update: { modeTransitions: { push: transition } },
});
const [first] = await prisma.callParticipant.findMany({ where: { callSessionId: callId, userId: "user-1" } });
await prisma.callParticipant.update({ where: { id: first.id }, data: { sfuAudioProducerId: "producer-abc123" } });

const active = await prisma.callSession.findMany({
  where: { mode: "sfu", status: "active" },
  include: { participants: { where: { status: "connected" } } },
});
const found = await prisma.callParticipant.findFirst({
  where: { OR: [{ sfuAudioProducerId: "producer-abc123" }, { sfuVideoProducerId: "producer-abc123" }] },
  include: { user: true, anonymousUser: true, callSession: true },
});
const byRouter = await prisma.callSession.findFirst({ where: { sfuRoomId: "router-abc123", status: "active" } });

await prisma.callTranscription.create({
  data: { callSessionId: callId, participantId: first.id, text: "hello", startedAt: now, endedAt: now },
});
await prisma.callRecording.create({ data: { callSessionId: callId } });

const later = new Date(now.getTime() + 1_000);
await prisma.callSession.update({
  where: { id: callId },
  data: {
    mode: "p2p",
    sfuRoomId: null,
    sfuRtpCapabilities: Prisma.DbNull,
    lastModeChange: later,
    modeChangeCount: { increment: 1 },
  },
});
await prisma.callParticipant.updateMany({ where: { callSessionId: callId }, data: { sfuAudioProducerId: null } });
await prisma.callMetrics.update({
  where: { callSessionId: callId },
  data: {
    modeTransitions: {
      push: { from: "sfu", to: "p2p", timestamp: later.toISOString(), reason: "participant_left" },
    },
  },
});
await prisma.callSession.update({
  where: { id: callId },
  data: { status: "ended", endedAt: new Date(now.getTime() + 5_000), duration: 5 },
});
await prisma.callParticipant.updateMany({
  where: { callSessionId: callId },
  data: { leftAt: new Date(now.getTime() + 5_000) },
});

const whole = await prisma.callSession.findUniqueOrThrow({
  where: { id: callId },
  include: { participants: true, transcriptions: true, recording: true, analytics: true, metrics: true },
});
console.log(
  JSON.stringify({
    created: [created.status, created.type, created.startedAt, created.sfuRoomId, created.modeChangeCount],
    active: active.map((call) => [call.id === callId, call.participants.length]),
    found: [found?.user?.name, found?.anonymousUser, found?.callSession.mode],
    byRouter: byRouter?.id === callId,
    whole: [whole.status, whole.mode, whole.modeChangeCount, whole.startedAt !== null, whole.participants.length],
    said: whole.transcriptions.map((one) => one.text),
    recording: whole.recording?.status,
    analytics: [whole.analytics?.outcome, whole.analytics?.totalParticipants, whole.analytics?.sfuSeconds],
    transitions: (whole.metrics?.modeTransitions as unknown[]).length,
  }),
);
const doomed = await prisma.callSession.create({ data: { conversationId, initiatorId, mode: "p2p", type: "audio" } });
await prisma.callSession.delete({ where: { id: doomed.id } });
await prisma.$disconnect();
