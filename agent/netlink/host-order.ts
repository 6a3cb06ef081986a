/**
 * Netlink carries numbers in the byte order of the machine; true where that is little endian, for DataView.
 */
export const HOST_IS_LITTLE_ENDIAN: boolean = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
