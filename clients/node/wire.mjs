// The wire of tickplant, version 2: docs/wire.md says what stands where.

export const VERSION = 2;
const HEADER_BYTES = 96;

const int64 = (view, at) => view.getBigInt64(at, true);
const uint64 = (view, at) => view.getBigUint64(at, true);
const uint32 = (view, at) => view.getUint32(at, true);
const uint16 = (view, at) => view.getUint16(at, true);
const uint8 = (view, at) => view.getUint8(at);
const float64 = (view, at) => view.getFloat64(at, true);
const READ = { f8: float64, i8: int64, u8: uint64, u4: uint32, u2: uint16, u1: uint8 };

const layout = (text) => text.trim().split(/\s+/).map((part) => part.split(":")).map(([name, type, at]) => ({ name, read: READ[type], at: Number(at) }));

/** By schema: the fields of a record, with their types and offsets. */
export const SCHEMAS = {
  1: layout(`ts_event:i8:0 ts_recv:i8:8 price:i8:16 size:i8:24 venue_seq:u8:32 order_id:u8:40
    instrument:u4:48 kind:u1:52 side:u1:53 flags:u2:54 seq:u8:56`),
  2: layout(`ts_event:i8:0 ts_recv:i8:8 bid_price:i8:16 bid_size:i8:24 ask_price:i8:32 ask_size:i8:40
    source_seq:u8:48 instrument:u4:56 flags:u2:60 reserved:u2:62 seq:u8:64`),
  3: layout(`ts_event:i8:0 ts_recv:i8:8 ts_open:i8:16 open:i8:24 high:i8:32 low:i8:40 close:i8:48 volume:i8:56
    buy_volume:i8:64 source_seq:u8:72 interval_s:u4:80 trades:u4:84 instrument:u4:88 flags:u2:92 reserved:u2:94 seq:u8:96`),
  5: layout(`ts_event:i8:0 ts_recv:i8:8 value_1:f8:16 value_2:f8:24 value_3:f8:32 value_4:f8:40
    source_seq:u8:48 instrument:u4:56 series:u2:60 flags:u2:62 seq:u8:64`),
  7: layout(`ts_event:i8:0 ts_recv:i8:8 ts_open:i8:16 open:i8:24 high:i8:32 low:i8:40 close:i8:48 volume:i8:56
    buy_volume:i8:64 sell_volume:i8:72 vwap:f8:80 first_id:u8:88 last_id:u8:96 source_seq:u8:104
    instrument:u4:112 series:u2:116 flags:u2:118 trades:u4:120 number:u4:124 seq:u8:128`),
};

const viewOf = (frame) => new DataView(frame.buffer, frame.byteOffset, frame.byteLength);

function checkVersion(version) {
  if (version === VERSION) return;
  const older = version < VERSION ? "the engine" : "this client";
  throw new Error(`the engine speaks wire version ${version}, this client version ${VERSION}: ${older} is the older side`);
}

/** The fields of a header frame; throws for another kind of frame or another wire version. */
export function readHeader(frame) {
  const view = viewOf(frame);
  if (frame.toString("latin1", 0, 4) !== "TPWM") throw new Error("not a tickplant message");
  checkVersion(uint16(view, 4));
  if (frame.length < HEADER_BYTES) throw new Error(`a header of ${frame.length} bytes; ${HEADER_BYTES} were expected`);
  return {
    schema: uint16(view, 8),
    recordBytes: uint16(view, 10),
    records: uint32(view, 12),
    epoch: Number(uint64(view, 16)), // both are below 2^53
    firstSeq: Number(uint64(view, 24)),
    publishNs: int64(view, 32),
    instrument: uint32(view, 40),
    priceScale: uint8(view, 44),
    sizeScale: uint8(view, 45),
    producer: frame.toString("latin1", 48, 80).replace(/\0+$/, ""),
  };
}

/** The records of a payload from the `skip`th on, as objects; 64-bit fields are BigInt. */
export function readRecords(header, payload, skip = 0) {
  const fields = SCHEMAS[header.schema];
  if (!fields) throw new Error(`record schema ${header.schema} is unknown to this client`);
  const view = viewOf(payload);
  const rows = [];
  for (let start = skip * header.recordBytes; start < payload.length; start += header.recordBytes) {
    rows.push(Object.fromEntries(fields.map(({ name, read, at }) => [name, read(view, start + at)])));
  }
  return rows;
}

/** The frame of a request. */
export const writeRequest = (request) => JSON.stringify({ ...request, version: VERSION });

/** A reply; throws where it is of another wire version. */
export function readReply(frame) {
  const reply = JSON.parse(frame.toString());
  checkVersion(reply.version ?? 1);
  return reply;
}
