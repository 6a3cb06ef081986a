/** The numbers of the link family, by the names of linux/if_link.h and linux/if.h. */
export const IFINFOMSG_BYTES = 16;
/** Of `ifi_type`. */
export const ARPHRD_ETHER = 1;
export const IFF_UP = 0x1;
export const AF_INET6 = 10;
/** The device's own settings (`/proc/sys/net/ipv6/conf`), an array of int32 by `DEVCONF_*`. */
export const IFLA_INET6_CONF = 2;
export const DEVCONF_DISABLE_IPV6 = 26;
export const IFLA_INET6_ADDR_GEN_MODE = 8;
export const IN6_ADDR_GEN_MODE_EUI64 = 0;
export const IN6_ADDR_GEN_MODE_NONE = 1;
export const RTEXT_FILTER_SKIP_STATS = 0x8;

export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  TXQLEN: 13,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  AF_SPEC: 26,
  EXT_MASK: 29,
  CARRIER: 33,
  LINK_NETNSID: 37,
  PROP_LIST: 52,
  ALT_IFNAME: 53,
} as const;

export const INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const;

export const BRPORT = { STATE: 1, LEARNING: 8, UNICAST_FLOOD: 9, MCAST_FLOOD: 27, BCAST_FLOOD: 30 } as const;
export const BR_STATE_FORWARDING = 3;

export const IFLA_BR_VLAN_FILTERING = 7;
export const IFLA_BR_MCAST_SNOOPING = 23;

export const VXLAN = { ID: 1, LOCAL: 4, LOCAL6: 17, COLLECT_METADATA: 25 } as const;

export const IFLA_MACVLAN_MODE = 1;

export const IFLA_TUN_TYPE = 3;
export const IFF_TAP = 2;
