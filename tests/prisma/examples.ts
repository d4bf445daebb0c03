// The documents' examples, run through Prisma against Tandem's tables. Names are as DESIGN's merge has them
// (conversationId is roomId, type is callType, statuses are upper case, a JSON null is Prisma.DbNull).
import { PrismaPg } from "@prisma/adapter-pg";
import { Prisma, PrismaClient } from "./generated/client.js";

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });

// -- database-compatibility-report.md

async function createCallSession() {
  return prisma.callSession.create({
    data: {
      roomId: "room-123",
      callType: "VIDEO",
      status: "ACTIVE",
      participants: {
        create: [
          { userId: "user-1", hadVideo: true },
          { userId: "user-2", hadVideo: true },
        ],
      },
    },
  });
}

async function updateCallStatus(callSessionId: string) {
  await prisma.callSession.update({
    where: { id: callSessionId },
    data: { status: "ENDED", endedAt: new Date(), duration: 120 },
  });
}

async function addParticipant(callSessionId: string, userId: string) {
  return prisma.callParticipant.create({
    data: { callSessionId: callSessionId, userId: userId, hadVideo: true, wasMuted: false },
  });
}

async function callHistory(roomId: string) {
  return prisma.callSession.findMany({
    where: { roomId: roomId, status: "ENDED" },
    include: {
      participants: { include: { user: { select: { id: true, name: true, avatar: true } } } },
    },
    orderBy: { startedAt: "desc" },
  });
}

// -- phase-1b-schema-changes.md

async function createP2pCall(roomId: string, initiatorId: string) {
  return prisma.callSession.create({
    data: { roomId, initiatorId, mode: "p2p", callType: "VIDEO", status: "INITIATED" },
  });
}

async function switchToSFU(callId: string, routerId: string, rtpCapabilities: Prisma.InputJsonValue) {
  const now = new Date();
  await prisma.callSession.update({
    where: { id: callId },
    data: {
      mode: "sfu",
      sfuRoomId: routerId,
      sfuRtpCapabilities: rtpCapabilities,
      lastModeChange: now,
      modeChangeCount: { increment: 1 },
    },
  });
  await prisma.callMetrics.upsert({
    where: { callSessionId: callId },
    create: {
      callSessionId: callId,
      modeTransitions: [
        { from: "p2p", to: "sfu", timestamp: now.toISOString(), reason: "participant_joined" },
      ],
    },
    update: {
      modeTransitions: {
        push: { from: "p2p", to: "sfu", timestamp: now.toISOString(), reason: "participant_joined" },
      },
    },
  });
}

async function updateParticipantSFUData(
  participantId: string,
  sfuData: {
    sendTransportId: string;
    recvTransportId: string;
    audioProducerId?: string;
    videoProducerId?: string;
  },
) {
  await prisma.callParticipant.update({
    where: { id: participantId },
    data: {
      sfuSendTransportId: sfuData.sendTransportId,
      sfuRecvTransportId: sfuData.recvTransportId,
      sfuAudioProducerId: sfuData.audioProducerId,
      sfuVideoProducerId: sfuData.videoProducerId,
    },
  });
}

async function getActiveSFUCalls() {
  return await prisma.callSession.findMany({
    where: { mode: "sfu", status: "ACTIVE" },
    include: { participants: { where: { status: "connected" } } },
  });
}

async function findParticipantByProducerId(producerId: string) {
  return await prisma.callParticipant.findFirst({
    where: {
      OR: [
        { sfuAudioProducerId: producerId },
        { sfuVideoProducerId: producerId },
        { sfuScreenProducerId: producerId },
      ],
    },
    include: { user: true, anonymousUser: true, callSession: true },
  });
}

async function switchToP2P(callId: string) {
  const now = new Date();
  await prisma.callSession.update({
    where: { id: callId },
    data: {
      mode: "p2p",
      sfuRoomId: null,
      sfuRtpCapabilities: Prisma.DbNull,
      lastModeChange: now,
      modeChangeCount: { increment: 1 },
    },
  });
  await prisma.callParticipant.updateMany({
    where: { callSessionId: callId },
    data: {
      sfuSendTransportId: null,
      sfuRecvTransportId: null,
      sfuAudioProducerId: null,
      sfuVideoProducerId: null,
      sfuScreenProducerId: null,
    },
  });
  await prisma.callMetrics.update({
    where: { callSessionId: callId },
    data: {
      modeTransitions: {
        push: { from: "sfu", to: "p2p", timestamp: now.toISOString(), reason: "participant_left" },
      },
    },
  });
}

async function getModeTransitionStats(startDate: Date, endDate: Date) {
  const calls = await prisma.callSession.findMany({
    where: { createdAt: { gte: startDate, lte: endDate }, modeChangeCount: { gt: 0 } },
    include: { metrics: true },
  });
  const byReason: Record<string, number> = {};
  for (const call of calls) {
    for (const one of (call.metrics?.modeTransitions ?? []) as { reason: string }[]) {
      byReason[one.reason] = (byReason[one.reason] ?? 0) + 1;
    }
  }
  return {
    totalCalls: calls.length,
    totalTransitions: calls.reduce((sum, c) => sum + c.modeChangeCount, 0),
    transitionsByReason: byReason,
  };
}

async function cleanupOrphanedSFUData() {
  const invalidCalls = await prisma.callSession.findMany({
    where: { mode: "p2p", sfuRoomId: { not: null } },
  });
  for (const call of invalidCalls) {
    await prisma.callSession.update({
      where: { id: call.id },
      data: { sfuRoomId: null, sfuRtpCapabilities: Prisma.DbNull },
    });
  }
  return invalidCalls.length;
}

const seen: Record<string, unknown> = {};
const call = await createCallSession();
seen.started = call.startedAt !== null;
const third = await addParticipant(call.id, "user-3");
await prisma.callParticipant.updateMany({ where: { callSessionId: call.id }, data: { status: "connected" } });
await switchToSFU(call.id, "router-abc123", { codecs: [{ mimeType: "audio/opus" }] });
await updateParticipantSFUData(third.id, {
  sendTransportId: "send",
  recvTransportId: "recv",
  audioProducerId: "producer-abc123",
});
seen.active = (await getActiveSFUCalls()).map((c) => [c.id === call.id, c.participants.length]);
const found = await findParticipantByProducerId("producer-abc123");
seen.found = [found?.user?.name, found?.callSession.sfuRoomId];
await switchToP2P(call.id);
seen.stats = await getModeTransitionStats(new Date(Date.now() - 3_600_000), new Date(Date.now() + 3_600_000));
await updateCallStatus(call.id);
seen.history = (await callHistory("room-123")).map((c) => [
  c.duration,
  c.participants.map((p) => p.user?.name).sort(),
]);
const ringing = await createP2pCall("room-123", "user-1");
seen.ringing = [ringing.status, ringing.mode, ringing.startedAt, ringing.sfuRoomId];
await prisma.callSession.update({ where: { id: ringing.id }, data: { sfuRoomId: "stale" } });
seen.cleaned = await cleanupOrphanedSFUData();
console.log(JSON.stringify(seen));
await prisma.$disconnect();
