"""The bridge that joins a sandbox's machines, with addresses that are reserved for benchmarks."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.api.hypervisor import Filter
from sandbox.errors import SandboxError
from sandbox.processes import run

PREFIX = "bgs"
# How the alias of a bridge begins, before the sandbox's directory; the kernel's limit.
ALIAS, LONGEST_ALIAS = "bluegreen-sandbox:", 255
NUMBERS = range(1, 200)
# Addresses of droplets that exist only in the API (sandbox.api.account): nothing on the bridge answers there.
PHANTOMS = range(200, 208)
BROADCAST, ARP = bytes([0xFF] * 6), bytes([0x08, 0x06])
# Above these are the containers that share the wire (docker-compose.yaml), then reserved IPs.
FIRST_HOST, LAST_HOST = 10, 239
BALANCER_HOSTS = range(3, FIRST_HOST)
RESERVED_HOSTS = range(251, 255)
NO_FILTER = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
# The forge: http, https, SSH. No machine reaches it: Airflow fetches the source, droplets do not.
FORGE_HTTP, FORGE_HTTPS, FORGE_SSH = 8080, 8081, 8082


@dataclass(frozen=True)
class Network:
    """One sandbox's bridge and addresses.

    :param number: the third octet of both networks; no two sandboxes on one machine share it.
    """

    number: int

    @property
    def bridge(self) -> str:
        """Name of the bridge interface on the host."""
        return f"{PREFIX}{self.number}"

    @property
    def gateway(self) -> str:
        """The host's address on the bridge; the API and the git server listen there."""
        return f"198.18.{self.number}.1"

    @property
    def relay(self) -> str:
        """The host's address that machines see as the source of delayed connections."""
        return f"198.18.{self.number}.2"

    @property
    def public(self) -> str:
        """The network of public addresses."""
        return f"198.18.{self.number}.0/24"

    @property
    def private(self) -> str:
        """The network of private addresses."""
        return f"198.19.{self.number}.0/24"

    def public_address(self, host: int) -> str:
        """Return the public address with this last octet."""
        return f"198.18.{self.number}.{host}"

    def private_address(self, host: int) -> str:
        """Return the private address with this last octet."""
        return f"198.19.{self.number}.{host}"


def create(owner: Path) -> Network:
    """Create the bridge of a sandbox, with the first number that no other sandbox has.

    :param owner: the sandbox's directory; it is stored with the bridge, so that :func:`remove` finds it.
    """
    for number in NUMBERS:
        network = Network(number)
        if _exists(network.bridge):
            continue
        try:
            run(["ip", "link", "add", network.bridge, "type", "bridge"])
        except SandboxError:
            if _exists(network.bridge):
                continue
            raise
        run(["ip", "link", "set", "dev", network.bridge, "alias", _alias(owner)])
        _configure(network)
        return network
    raise SandboxError(f"no free network for a sandbox: {len(NUMBERS)} are in use")


def owners() -> set[Path]:
    """Return the directories of all sandboxes that have a bridge."""
    aliases = [str(link.get("ifalias", "")) for link in _bridges()]
    return {
        Path(alias.removeprefix(ALIAS))
        for alias in aliases
        # One of full length may have been cut off.
        if alias.startswith(ALIAS) and len(alias) < LONGEST_ALIAS
    }


def remove(owner: Path) -> None:
    """Remove the bridge and the firewall rules of the sandbox in this directory, if it has any."""
    for link in _bridges():
        if link.get("ifalias") == _alias(owner):
            network = Network(int(link["ifname"].removeprefix(PREFIX)))
            _remove_rules(network)
            _remove_redirects(f"{network.gateway}:")
            run(["ip", "link", "delete", link["ifname"]], check=False)


def set_link(interface: str, *, up: bool) -> None:
    """Cut or restore a machine's cable.

    :param interface: the host's end of it.
    """
    run(["ip", "link", "set", "dev", interface, "up" if up else "down"])


def forget(network: Network, address: str) -> None:
    """Drop the host's neighbour entry of an address, so that its next holder is found at once."""
    run(["ip", "neigh", "flush", "dev", network.bridge, "to", address], check=False)


def add_address(network: Network, address: str) -> None:
    """Give the host one more address of the sandbox."""
    run(["ip", "address", "add", f"{address}/24", "dev", network.bridge])


def remove_address(network: Network, address: str) -> None:
    """Undo :func:`add_address`."""
    run(["ip", "address", "delete", f"{address}/24", "dev", network.bridge], check=False)


def announce(network: Network, address: str, hardware_address: str) -> None:
    """Announce the new hardware address of an address to all machines, by a gratuitous ARP request.

    :param hardware_address: six bytes, in hexadecimal with colons.
    """
    sender = bytes.fromhex(hardware_address.replace(":", ""))
    internet = socket.inet_aton(address)
    ethernet = BROADCAST + sender + ARP
    # Ethernet, IPv4, six and four bytes, request.
    question = bytes.fromhex("0001 0800 06 04 0001") + sender + internet + bytes(6) + internet
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((network.bridge, 0))
        link.send(ethernet + question)


def redirect(network: Network, address: str, port: int) -> None:
    """Send new TCP connections to an address to a port of the gateway instead, the relay's own excepted."""
    target = ["-p", "tcp", "-d", address, "-j", "DNAT", "--to-destination", f"{network.gateway}:{port}"]
    run(["iptables", "-w", "-t", "nat", "-I", "OUTPUT", "!", "-s", network.relay, *target])
    run(["iptables", "-w", "-t", "nat", "-I", "PREROUTING", "-i", network.bridge, *target])


def stop_redirecting(network: Network, address: str) -> None:
    """Undo :func:`redirect`."""
    _remove_redirects(f"-d {address}/32 ", f"--to-destination {network.gateway}:")


def _remove_redirects(*parts: str) -> None:
    """Remove the address translations that contain all these parts."""
    with contextlib.suppress(SandboxError):
        for rule in run(["iptables", "-w", "-t", "nat", "-S"]).splitlines():
            if rule.startswith("-A ") and all(part in rule for part in parts):
                run(["iptables", "-w", "-t", "nat", "-D", *rule.split()[1:]], check=False)


def filter_rules(network: Network, wanted: Filter) -> str:
    """Return a machine's firewall as ``iptables-restore`` reads it.

    A connection that is delayed comes from the relay, and was let through where it came from.
    """
    sides = (("INPUT", "-i", "-s", wanted.inbound), ("OUTPUT", "-o", "-d", wanted.outbound))
    policies = [f":{chain} {'ACCEPT' if lets is None else 'DROP'} [0:0]" for chain, _, _, lets in sides]
    lines = ["*filter", *policies, ":FORWARD ACCEPT [0:0]"]
    lines += [f"-A INPUT -s {source} -d {address} -j DROP" for source, address in wanted.dropped]
    for chain, device, side, lets in sides:
        if lets is None:
            continue
        lines.append(f"-A {chain} {device} lo -j ACCEPT")
        lines.append(f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
        if chain == "INPUT":
            lines.append(f"-A INPUT -s {network.relay} -j ACCEPT")
        for let in lets:
            ports = "" if let.ports == "0" else f" --dport {let.ports.replace('-', ':')}"
            lines += [
                f"-A {chain} {side} {address} -p {let.protocol}{ports} -j ACCEPT" for address in let.addresses
            ]
    return "\n".join([*lines, "COMMIT", ""])


def apply_filter(init: int, rules: str) -> None:
    """Put a firewall into a machine's network.

    :param init: the host's pid of the machine's systemd.
    """
    run(["nsenter", f"--target={init}", "--net", "iptables-restore", "-w"], text=rules)


def _configure(network: Network) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{network.bridge}/disable_ipv6").write_text("1")
    for address in (network.gateway, network.relay, network.private_address(1)):
        run(["ip", "address", "add", f"{address}/24", "dev", network.bridge])
    run(["ip", "link", "set", "dev", network.bridge, "up"])
    for first in ("198.18", "198.19"):
        phantoms = f"{first}.{PHANTOMS.start}.0/21"
        run(["ip", "route", "add", phantoms, "dev", network.bridge, "metric", str(100 + network.number)])
    for chain, rule in _rules(network):
        if _is_needed(chain, rule[-1]):
            run(["iptables", "-w", "-I", chain, *rule])


def _rules(network: Network) -> list[tuple[str, list[str]]]:
    """Return the firewall's rules, the last one first: machines reach each other and the host, nothing else.

    Of the host they do not reach the forge; the connection is refused, so that nothing waits for it.
    """
    bridge = network.bridge
    forge = ["-d", network.gateway, "-p", "tcp", "--dport", f"{FORGE_HTTP}:{FORGE_SSH}", "-j", "REJECT"]
    machines = (
        f"{each(FIRST_HOST)}-{each(LAST_HOST)}" for each in (network.public_address, network.private_address)
    )
    return [
        ("FORWARD", ["-i", bridge, "-o", bridge, "-j", "ACCEPT"]),
        ("FORWARD", ["-i", bridge, "!", "-o", bridge, "-j", "DROP"]),
        ("INPUT", ["-i", bridge, "-j", "ACCEPT"]),
        *(("INPUT", ["-i", bridge, "-m", "iprange", "--src-range", each, *forge]) for each in machines),
    ]


def _is_needed(chain: str, target: str) -> bool:
    if target == "DROP":
        return _forwards()
    return target == "REJECT" or _drops(chain)


def _forwards() -> bool:
    return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"


def _drops(chain: str) -> bool:
    """Return whether the host may drop packets between machines, or from them to itself, without a rule."""
    filters = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if chain == "FORWARD" and filters.exists() and filters.read_text().strip() == "1":
        return True
    try:
        policy = run(["iptables", "-w", "-S", chain])
    except SandboxError:
        return False
    # The rules of other sandboxes that keep machines from the forge concern their own bridges only.
    lines = [line for line in policy.splitlines() if not (f"-i {PREFIX}" in line and "-j REJECT" in line)]
    return lines != [f"-P {chain} ACCEPT"]


def _remove_rules(network: Network) -> None:
    for chain, rule in _rules(network):
        with contextlib.suppress(SandboxError):
            while True:
                run(["iptables", "-w", "-D", chain, *rule])


def _exists(interface: str) -> bool:
    return interface in (name for _, name in socket.if_nameindex())


def _alias(owner: Path) -> str:
    return f"{ALIAS}{owner.resolve()}"[:LONGEST_ALIAS]


def _bridges() -> list[dict[str, Any]]:
    return list(json.loads(run(["ip", "-json", "link", "show", "type", "bridge"]) or "[]"))
