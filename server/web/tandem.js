/** The client library; docs/client.md describes it. */
export { Tandem, VERSION } from "./tandem/client.js";
export { LocalMedia, MediaProblem } from "./tandem/media.js";
export { RpcError, Session } from "./tandem/rpc.js";
