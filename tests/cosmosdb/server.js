// Starts the server on a free port of loopback, prints the port, and ends with its standard input.
// Three of its mistakes are made good here, since little could be tested otherwise:
const path = require("path");
const folder = path.join(process.argv[2], "node_modules", "@vercel", "cosmosdb-server", "lib");
const load = (name) => require(path.join(folder, name));

// a point read of a missing document ends in a TypeError, so in 500 instead of 404;
const read = load("handler/read-document");
const readAsItIs = read.default;
read.default = (account, req, res, params) => {
  try {
    return readAsItIs(account, req, res, params);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    res.statusCode = 404;
    return { code: "NotFound", message: "Entity with the specified id does not exist in the system." };
  }
};

// the writes of a batch look for a partition key of their own, where clients send one for all in a header;
// and a batch that fails is not undone.
const operations = load("handler/_document-operations");
const batch = load("handler/batch-documents");
const batchAsItIs = batch.default;
batch.default = async (account, req, res, params) => {
  const before = {};
  for (const name of Object.keys(operations)) {
    before[name] = operations[name];
    operations[name] = (collection, input) =>
      before[name](collection, { partitionKey: req.headers["x-ms-documentdb-partitionkey"], ...input });
  }
  const { documents } = account.database(params.dbId).collection(params.collId);
  const stored = [new Map(documents._data), new Map(documents._index)];
  try {
    const answers = await batchAsItIs(account, req, res, params);
    if (answers.some((each) => each.statusCode >= 400)) [documents._data, documents._index] = stored;
    return answers;
  } finally {
    Object.assign(operations, before);
  }
};

const server = load("index").createHttpServer({ keepAlive: true });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
