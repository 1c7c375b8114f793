"""What can be ordered: regions, sizes and images."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_REGIONS = {
    "ams3": "Amsterdam 3",
    "blr1": "Bangalore 1",
    "fra1": "Frankfurt 1",
    "lon1": "London 1",
    "nyc1": "New York 1",
    "nyc3": "New York 3",
    "sfo3": "San Francisco 3",
    "sgp1": "Singapore 1",
    "syd1": "Sydney 1",
    "tor1": "Toronto 1",
}
# slug: memory in MB, processors, disk in GB, transfer in TB, US dollars a month
_SIZES = {
    "s-1vcpu-512mb-10gb": (512, 1, 10, 0.5, 4.0),
    "s-1vcpu-1gb": (1024, 1, 25, 1.0, 6.0),
    "s-1vcpu-2gb": (2048, 1, 50, 2.0, 12.0),
    "s-2vcpu-2gb": (2048, 2, 60, 3.0, 18.0),
    "s-2vcpu-4gb": (4096, 2, 80, 4.0, 24.0),
    "s-4vcpu-8gb": (8192, 4, 160, 5.0, 48.0),
}
# slug: id, name, Debian suite of the machine that boots from it
_IMAGES = {
    "debian-12-x64": (136_110_001, "12 x64", "bookworm"),
    "debian-13-x64": (189_310_002, "13 x64", "trixie"),
}

REGIONS: dict[str, Json] = {
    slug: {
        "name": name,
        "slug": slug,
        "features": ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"],
        "available": True,
        "sizes": list(_SIZES),
    }
    for slug, name in _REGIONS.items()
}

SIZES: dict[str, Json] = {
    slug: {
        "slug": slug,
        "memory": memory,
        "vcpus": processors,
        "disk": disk,
        "transfer": transfer,
        "price_monthly": price,
        "price_hourly": round(price / 672, 5),
        "regions": list(_REGIONS),
        "available": True,
        "description": "Basic",
    }
    for slug, (memory, processors, disk, transfer, price) in _SIZES.items()
}

IMAGES: dict[str, Json] = {
    slug: {
        "id": number,
        "name": name,
        "distribution": "Debian",
        "slug": slug,
        "public": True,
        "regions": list(_REGIONS),
        "created_at": "2026-01-05T12:00:00Z",
        "min_disk_size": 7,
        "type": "base",
        "size_gigabytes": 0.57,
        "description": f"Debian {name}",
        "tags": [],
        "status": "available",
    }
    for slug, (number, name, _) in _IMAGES.items()
}


def find_image(identifier: str | int) -> Json | None:
    """Find an image by its id or slug."""
    for slug, image in IMAGES.items():
        if identifier == slug or str(identifier) == str(image["id"]):
            return image
    return None


def suite(image: Json) -> str:
    """Return the Debian suite of an image's machines."""
    return _IMAGES[image["slug"]][2]
