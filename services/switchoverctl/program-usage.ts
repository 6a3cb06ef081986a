/** What `switchoverctl --help` prints. */
export const PROGRAM_USAGE = `Usage: switchoverctl COMMAND [flags]

Moves guests between hosts, and their network identity with their CPUs.

Commands:
  migrate            Move a guest to another host
  show               Show a migration as it stands
  list               List migrations, by guest, host, phase, label or time
  watch              Follow a migration to its end, or all that are open
  explain            Say what a migration waits for, on whom, and what to type next
  receipt            Show what happened when in a migration that has ended
  hosts              List the hosts whose agents live
  host               Show one of them, with what its agent knows
  cancel             Leave the guest where it is, if it is not too late
  post-copy          Move the CPUs now, the remaining pages after
  pause              Pause a post-copy transfer
  recover            Recover a paused post-copy transfer
  resolve            State that a host is dead, or where a waiting migration ends
  drain              Evacuate a host: move all its guests to other hosts
  show-drain         Show an evacuation as it stands
  watch-drain        Follow an evacuation to its end
  cancel-drain       Send no further guest away

Commands to NATS, where coordinators keep all they know:
  backup             Write records and history to a file
  restore            Bring them back from it

Commands to one host's agent:
  orphans            Show, and remove, what no guest uses any more there
  start-cpus         Have a guest registered, so that its CPUs may be started
  report-cpu-state   Tell how a VMM stands that the agent does not drive
  attach-nic         Give a guest there one NIC more, before QEMU's device_add
  detach-nic         Take a NIC from a guest there, after QEMU's DEVICE_DELETED

Commands to any coordinator or agent, as it describes itself:
  call               Call a method with a request in JSON
  describe           Show services, methods and messages

Commands to one host's agent that a coordinator gives by itself, for when none is left:
  cancel-transfer    Ask the source to keep the guest
  abort-destination  Have the destination never start the guest, and end its VMM
  hand-back          Ask the destination for its word that it never started the guest

Whom to ask is told by the flags --coordinator, --agent and --nats-url, by the environment (SWITCHOVER_COORDINATOR,
SWITCHOVER_AGENT, SWITCHOVER_NATS_URL), or by a file of YAML or JSON, whose keys are these flags without "--"; each wins
over the next. The file is the one that --config names, else ~/.config/switchover/switchoverctl.yaml, else
/etc/switchover/switchoverctl.yaml:
  coordinator: 10.0.0.1:7440
  nats-url: nats://10.0.0.1:4222
  tls-cert: /etc/switchover/tls.crt
  tls-key: /etc/switchover/tls.key
  tls-ca: /etc/switchover/ca.crt
Coordinators and agents are asked by mutual TLS, with a certificate of an operator, a control plane or an observer
(--tls-cert, --tls-key, --tls-ca); with --insecure-loopback in plain text, and then only on this host.

Exit codes:
  0  The migration is complete, or what was asked for is done
  1  The migration failed or was cancelled, or what was asked for is refused
  2  The command line, the configuration or the request is wrong
  3  Nobody answered, so that nothing is known
  130  Ctrl-C came before the end; what was asked for goes on
  141  Nobody reads the output any more; what was asked for goes on

Help for a command: switchoverctl COMMAND --help

Example:
  switchoverctl migrate --guest web-7 --from ha --to hb --wait
`;
