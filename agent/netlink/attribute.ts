import { SwitchoverError } from "../../proto/error.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";

const ATTRIBUTE_HEADER_BYTES = 4;
const MAX_ATTRIBUTE_BYTES = 0xffff;
/** Marks nesting where the kernel checks strictly; most messages do without. */
export const NLA_F_NESTED = 0x8000;
/** The two top bits of a type mark nesting and byte order (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`). */
const TYPE_MASK = 0x3fff;
const INITIAL_CAPACITY = 128;

/**
 * Writes attributes after `reservedBytes` of room for what precedes them.
 * Keeps the first problem and goes on; `finish` throws it (INTERNAL, NETLINK_UNENCODABLE).
 */
export class AttributeEncoder {
  #bytes: Uint8Array;
  #view: DataView;
  #length: number;
  #problem: SwitchoverError | undefined;

  constructor(reservedBytes: number) {
    this.#bytes = new Uint8Array(Math.max(INITIAL_CAPACITY, reservedBytes * 2));
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = reservedBytes;
  }

  u8(type: number, value: number): void {
    const at = this.#open(type, 1, value, 0xff);
    this.#view.setUint8(at, value);
  }

  u16(type: number, value: number): void {
    const at = this.#open(type, 2, value, 0xffff);
    this.#view.setUint16(at, value, HOST_IS_LITTLE_ENDIAN);
  }

  u32(type: number, value: number): void {
    const at = this.#open(type, 4, value, 0xffff_ffff);
    this.#view.setUint32(at, value, HOST_IS_LITTLE_ENDIAN);
  }

  bytes(type: number, value: Uint8Array): void {
    this.#bytes.set(value, this.#open(type, value.length));
  }

  /** A zero-terminated string. */
  string(type: number, text: string): void {
    this.bytes(type, Buffer.from(`${text}\0`, "utf8"));
  }

  /** An attribute made of the attributes that `build` writes. */
  nested(type: number, build: (encoder: this) => void): void {
    const start = this.#open(type, 0) - ATTRIBUTE_HEADER_BYTES;
    build(this);
    const length = this.#length - start;
    if (length > MAX_ATTRIBUTE_BYTES) this.#fail(`Attribute ${type} would hold ${length} bytes.`);
    this.#view.setUint16(start, length, HOST_IS_LITTLE_ENDIAN);
  }

  /** All bytes written, the reserved ones first; throws the first problem. */
  finish(): Uint8Array {
    if (this.#problem !== undefined) throw this.#problem;
    return this.#bytes.slice(0, this.#length);
  }

  /** Writes the header of an attribute and makes room for its value, whose offset it returns. */
  #open(type: number, valueBytes: number, value = 0, maximum = 0): number {
    if (!Number.isInteger(value) || value < 0 || value > maximum) {
      this.#fail(`Attribute ${type} cannot hold ${value}: 0 to ${maximum}.`);
    }
    const start = this.#length;
    const length = ATTRIBUTE_HEADER_BYTES + valueBytes;
    if (length > MAX_ATTRIBUTE_BYTES) this.#fail(`Attribute ${type} would hold ${length} bytes.`);
    this.#length = start + ((length + 3) & ~3);
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(this.#length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#view.setUint16(start, length, HOST_IS_LITTLE_ENDIAN);
    this.#view.setUint16(start + 2, type, HOST_IS_LITTLE_ENDIAN);
    return start + ATTRIBUTE_HEADER_BYTES;
  }

  #fail(sentence: string): void {
    this.#problem ??= new SwitchoverError("INTERNAL", sentence, { reason: "NETLINK_UNENCODABLE" });
  }
}

/**
 * A cursor over the attributes of `bytes` from `offset` on: `while (d.next()) switch (d.type)`, then `finish`.
 *
 * A value of the wrong size reads as zero (or empty) and is remembered; `finish` throws the first such problem
 * (INTERNAL, NETLINK_MALFORMED). Ends on any input: each step moves at least one header forward.
 */
export class AttributeDecoder {
  type: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #next: number;
  #valueAt = 0;
  #valueBytes = 0;
  #problem: SwitchoverError | undefined;

  constructor(bytes: Uint8Array, offset = 0) {
    this.type = 0;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#next = offset;
  }

  /** Moves to the next attribute; false at the end and after a problem. */
  next(): boolean {
    const left = this.#bytes.length - this.#next;
    if (this.#problem !== undefined || left < ATTRIBUTE_HEADER_BYTES) return false;
    const length = this.#view.getUint16(this.#next, HOST_IS_LITTLE_ENDIAN);
    if (length < ATTRIBUTE_HEADER_BYTES || length > left) {
      this.#fail(`An attribute claims ${length} bytes where ${left} are left.`);
      return false;
    }
    this.type = this.#view.getUint16(this.#next + 2, HOST_IS_LITTLE_ENDIAN) & TYPE_MASK;
    this.#valueAt = this.#next + ATTRIBUTE_HEADER_BYTES;
    this.#valueBytes = length - ATTRIBUTE_HEADER_BYTES;
    this.#next += (length + 3) & ~3;
    return true;
  }

  u8(): number {
    return this.#has(1) ? this.#view.getUint8(this.#valueAt) : 0;
  }

  u16(): number {
    return this.#has(2) ? this.#view.getUint16(this.#valueAt, HOST_IS_LITTLE_ENDIAN) : 0;
  }

  u32(): number {
    return this.#has(4) ? this.#view.getUint32(this.#valueAt, HOST_IS_LITTLE_ENDIAN) : 0;
  }

  /** A view of the value. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(this.#valueAt, this.#valueAt + this.#valueBytes);
  }

  /** The value up to its first zero byte. */
  string(): string {
    const value = this.bytes();
    const end = value.indexOf(0);
    return Buffer.from(value.buffer, value.byteOffset, end < 0 ? value.length : end).toString("utf8");
  }

  /** Hands a cursor over the value to `read`; its problem becomes this cursor's. */
  nested(read: (decoder: AttributeDecoder) => void): void {
    const inner = new AttributeDecoder(this.bytes());
    read(inner);
    this.#problem ??= inner.#problem;
  }

  finish(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  #has(bytes: number): boolean {
    if (this.#valueBytes === bytes) return true;
    this.#fail(`Attribute ${this.type} holds ${this.#valueBytes} bytes instead of ${bytes}.`);
    return false;
  }

  #fail(sentence: string): void {
    this.#problem ??= new SwitchoverError("INTERNAL", sentence, { reason: "NETLINK_MALFORMED" });
  }
}
