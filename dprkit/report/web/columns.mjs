// Columns: one typed array for each figure of the questions, by which they are filtered and ordered.

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

export const UNDEFINED_RANK = 65535; // nobody could tell; 0 is "not found"

/** name -> typed array, each of `rows` values, from the unpacked block: uint32 length, JSON header, arrays. */
export function columnsOf(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const columns = { rows: header.rows };
  for (const [name, { type, offset }] of Object.entries(header.arrays)) {
    columns[name] = new TYPES[type](buffer, 4 + length + offset, header.rows);
  }
  return columns;
}

/** A system's ranks of the first answer or best gold passage, a question each; undefined where there are none. */
export function rankColumn(columns, kind, system) {
  return kind ? columns[`${kind}_rank.${system}`] : undefined;
}
