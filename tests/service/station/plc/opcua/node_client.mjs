// A client of another implementation: connects secured, prepares a recipe, starts a part, waits for
// its ResultReadyEvent, and asks for the result. Prints one JSON object for each step.
//
//   node node_client.mjs MODULES URL FOLDER USER PASSWORD PART
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, url, folder, user, password, part] = process.argv.slice(2);
const opcua = createRequire(`${modules}/`)("node-opcua-client");
const { OPCUACertificateManager } = createRequire(`${modules}/`)(
  "node-opcua-certificate-manager",
);
const { AttributeIds, DataType, NodeId, Variant } = opcua;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (step, value) => console.log(JSON.stringify({ step, value }));

const certificates = new OPCUACertificateManager({
  rootFolder: `${folder}/node-pki`,
  automaticallyAcceptUnknownCertificate: true,
});
await certificates.initialize();
const client = opcua.OPCUAClient.create({
  applicationName: "scada",
  applicationUri: "urn:example:scada",
  certificateFile: `${folder}/client/certificate.pem`,
  privateKeyFile: `${folder}/client/key.pem`,
  clientCertificateManager: certificates,
  securityMode: opcua.MessageSecurityMode.SignAndEncrypt,
  securityPolicy: opcua.SecurityPolicy.Basic256Sha256,
  connectionStrategy: { maxRetry: 1 },
  endpointMustExist: false,
});
await client.connect(url);
const session = await client.createSession({
  type: opcua.UserTokenType.UserName, userName: user, password,
});
say("connected", client.securityPolicy);

const system = "ns=3;s=VisionSystem";
const automatic = `${system}.VisionStateMachine.AutomaticModeStateMachine`;
const number = (dataType, value) => new Variant({ dataType, value });
const nothing = new Variant({ dataType: DataType.Null });
const structure = async (id, fields) => {
  const made = await session.constructExtensionObject(opcua.resolveNodeId(`ns=2;i=${id}`), fields);
  return new Variant({ dataType: DataType.ExtensionObject, value: made });
};
const call = async (object, method, inputArguments) => {
  const result = await session.call({
    objectId: object, methodId: `${object}.${method}`, inputArguments,
  });
  if (!result.statusCode.isGood()) throw new Error(`${method}: ${result.statusCode.toString()}`);
  return (result.outputArguments ?? []).map((output) => output.value);
};
const read = async (nodeId) => (await session.read({ nodeId })).value.value;

await session.extractNamespaceDataType?.();
say("state", (await read(`${system}.VisionStateMachine.CurrentState`)).text);
const cause = [number(DataType.Int32, 0), number(DataType.String, "a test")];
await call(`${system}.VisionStateMachine`, "Reset", cause);
await call(`${system}.VisionStateMachine`, "SelectModeAutomatic", []);
const recipe = await structure(3002, { id: "1" });
const prepared = await call(`${system}.RecipeManagement`, "PrepareRecipe", [recipe, nothing]);
say("prepared", { id: prepared[0].id, completed: prepared[1], error: prepared[2] });
say("substate", (await read(`${automatic}.CurrentState`)).text);

const subscription = await session.createSubscription2({
  requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20,
  maxNotificationsPerPublish: 100, publishingEnabled: true, priority: 1,
});
const resultReady = opcua.resolveNodeId("ns=2;i=1024");
const names = ["2:JobId", "2:PartId", "2:ResultId", "2:ResultState", "2:ResultContent"];
const item = await subscription.monitor(
  { nodeId: system, attributeId: AttributeIds.EventNotifier },
  {
    samplingInterval: 0, queueSize: 100, discardOldest: true,
    filter: opcua.constructEventFilter(names, opcua.ofType(resultReady)),
  },
  opcua.TimestampsToReturn.Both,
);
const events = [];
let wake = () => {};
item.on("changed", (fields) => { events.push(fields.map((field) => field.value)); wake(); });

const started = await call(automatic, "StartSingleJob", [
  await structure(3015, { id: part }), await structure(3004, { id: `node-${part}` }),
  nothing, nothing, new Variant({ dataType: DataType.Null }),
]);
say("started", { job: started[0].id, error: started[1] });
await lines.next(); // until the image is taken
while (!events.some((event) => event[0].id === started[0].id)) {
  await new Promise((resolve) => { wake = resolve; setTimeout(resolve, 100); });
}
const [job, partId, resultId, state, content] = events.find((e) => e[0].id === started[0].id);
say("event", {
  job: job.id, part: partId.id, result: resultId.id, state, content: JSON.parse(content[0]),
});

const id = await structure(3021, { id: resultId.id });
const [, result, error] = await call(
  `${system}.ResultManagement`, "GetResultById", [id, number(DataType.Int32, 0)],
);
say("result", { id: result.resultId.id, part: result.partId.id, state: result.resultState, error });
const list = await call(`${system}.ResultManagement`, "GetResultListFiltered", [
  number(DataType.Int32, 0), nothing, await structure(3004, { id: `node-${part}` }),
  nothing, nothing, nothing, nothing, nothing, nothing,
  number(DataType.UInt32, 0), number(DataType.UInt32, 0), number(DataType.Int32, 0),
]);
say("list", { complete: list[0], ids: list[3].map((one) => one.resultId.id), error: list[4] });
await subscription.terminate();
await session.close();
await client.disconnect();
process.exit(0);
