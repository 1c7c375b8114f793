"""The cage that a repository's code runs in, before and after a release is live."""

from __future__ import annotations

# systemd's properties, one per line of a unit. An app's service, its build, its load check, its hooks and the
# load of a dry run all have them; each adds only the directories that it may write to.
CAGE = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    # systemd 252 leaves it out when it makes a private /dev.
    "ReadOnlyPaths=/run",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateIPC=yes",
    "PrivateMounts=yes",
    "PrivateUsers=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@resources",
    # A library that asks for more than it needs is refused, not killed.
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
    # The metadata service knows the droplet's user data, host key included.
    "IPAddressDeny=link-local",
)
