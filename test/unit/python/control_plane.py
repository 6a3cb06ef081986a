"""A control plane that has the .proto files alone: it moves a guest whose VMM it drives itself, and prints what it saw.

    control_plane.py GENERATED COORDINATOR SOURCE_AGENT DESTINATION_AGENT

GENERATED is what protoc made of proto/; the rest are gRPC targets. The last line is one JSON object.
"""

import json
import sys
import threading
import time

generated, coordinator_target, source_target, destination_target = sys.argv[1:5]
sys.path.insert(0, generated)

import google  # noqa: E402

# Debian's google.protobuf is a package of its own; google.rpc of the contract lies beside it.
google.__path__.append(f"{generated}/google")

import grpc  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from switchover.v1 import guest_pb2 as guest  # noqa: E402
from switchover.v1 import host_agent_service_pb2 as agent_messages  # noqa: E402
from switchover.v1 import host_agent_service_pb2_grpc as agent_service  # noqa: E402
from switchover.v1 import migration_pb2 as migration  # noqa: E402
from switchover.v1 import migration_service_pb2 as messages  # noqa: E402
from switchover.v1 import migration_service_pb2_grpc as service  # noqa: E402
from switchover.v1 import nic_pb2 as nic  # noqa: E402

GUEST = "web"
DEADLINE_S = 20
RUNNING, STOPPED = guest.CPU_STATE_RUNNING, guest.CPU_STATE_STOPPED

coordinator = service.MigrationServiceStub(grpc.insecure_channel(coordinator_target))


class End:
    """The guest's instance on one host, and that host's agent."""

    def __init__(self, host_id, target):
        self.host_id = host_id
        self.agent = agent_service.HostAgentServiceStub(grpc.insecure_channel(target))
        self.at = {"guest_id": GUEST, "instance_id": f"{GUEST}-{host_id}"}

    def stand(self, cpu_state, run_state):
        device = nic.UnmanagedDevice(kind=nic.UNMANAGED_KIND_USER)
        nics = [nic.NicDefinition(nic_id="net0", mac_address="52:54:00:00:00:01", unmanaged=device)]
        self.agent.PrepareNics(agent_messages.PrepareNicsRequest(nics=nics, **self.at), timeout=DEADLINE_S)
        owner = agent_messages.ExternalCpuSource(cpu_state=cpu_state, run_state=run_state)
        adopt = agent_messages.AdoptGuestRequest(external_cpu_source=owner, **self.at)
        self.agent.AdoptGuest(adopt, timeout=DEADLINE_S)

    def report(self, cpu_state, run_state="", transfer_status=""):
        told = {"cpu_state": cpu_state, "run_state": run_state, "transfer_status": transfer_status}
        self.agent.ReportCpuState(agent_messages.ReportCpuStateRequest(**told, **self.at), timeout=DEADLINE_S)

    def demands(self):
        answer = self.agent.GetGuest(agent_messages.GetGuestRequest(guest_id=GUEST), timeout=DEADLINE_S)
        return [demand for instance in answer.instances for demand in instance.demands]


def details_of(error):
    """Of google.rpc.Status, by name."""
    (packed,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    found = {}
    for detail in status_pb2.Status.FromString(packed).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


def refusal_of(call):
    try:
        call()
    except grpc.RpcError as error:
        details = details_of(error)
        fields = [violation.field for violation in details["BadRequest"].field_violations]
        info = details["ErrorInfo"]
        return [error.code().name, info.domain, info.reason, *fields]
    return ["OK"]


source, destination = End("ha", source_target), End("hb", destination_target)
source.stand(RUNNING, "running")
destination.stand(STOPPED, "inmigrate")


def start(**changes):
    spec = {
        "guest_id": GUEST,
        "source_host_id": source.host_id,
        "destination_host_id": destination.host_id,
        "mode": migration.MIGRATION_MODE_LIVE,
        **changes,
    }
    request = messages.StartMigrationRequest(request_id="r1", spec=migration.MigrationSpec(**spec))
    return coordinator.StartMigration(request, timeout=DEADLINE_S).migration


refused = refusal_of(lambda: start(destination_host_id=source.host_id))
started = start()
again = start()
reused = refusal_of(lambda: start(mode=migration.MIGRATION_MODE_POST_COPY))

phases = []


def watch():
    request = messages.WatchMigrationRequest(migration_id=started.migration_id)
    for response in coordinator.WatchMigration(request, timeout=3 * DEADLINE_S):
        phases[:] = [migration.Phase.Name(entry.phase) for entry in response.migration.phases]


watching = threading.Thread(target=watch)
watching.start()
give_up_at = time.monotonic() + DEADLINE_S
while guest.VMM_DEMAND_BEGIN_TRANSFER not in source.demands():
    if time.monotonic() > give_up_at:
        sys.exit("The transfer is not asked for.")
    time.sleep(0.02)
source.report(RUNNING, transfer_status="active")
destination.report(STOPPED, transfer_status="active")
permitted = destination.agent.StartCpus.future(
    agent_messages.StartCpusRequest(**destination.at), timeout=DEADLINE_S
)
source.report(STOPPED, run_state="finish-migrate")
destination.report(STOPPED, run_state="paused", transfer_status="completed")
source.report(STOPPED, transfer_status="completed")
permitted.result()
destination.report(RUNNING, run_state="running")
watching.join()

ended = coordinator.GetMigration(
    messages.GetMigrationRequest(migration_id=started.migration_id), timeout=DEADLINE_S
).migration
print(
    json.dumps(
        {
            "refused": refused,
            "reused": reused,
            "same": again.migration_id == started.migration_id,
            "phases": phases,
            "outcome": migration.Outcome.Name(ended.outcome),
        }
    )
)
