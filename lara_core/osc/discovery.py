"""A receiver is announced in the network (Zeroconf, _osc._udp), so that TouchOSC and other surfaces list it by itself."""

import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

SERVICE = "_osc._udp.local."

log = logging.getLogger(__name__)


@contextlib.contextmanager
def announced(port: int, addresses: Sequence[str] = ()) -> Iterator[str | None]:
    """Announce a port meanwhile -> its name in lists of OSC hosts; None where it cannot be: then a line in the log says why.

    addresses: of this machine, those on which it is announced; empty for all.
    """
    try:
        import zeroconf
    except ImportError:
        log.warning("Surfaces will not find this by themselves (pip install zeroconf); enter this machine's address and port %d there.", port)
        yield None
        return
    host = socket.gethostname().split(".")[0]
    with contextlib.ExitStack() as stack:
        try:
            places = list(addresses) or _addresses()
            service = zeroconf.Zeroconf(interfaces=places, ip_version=zeroconf.IPVersion.V4Only)
            stack.callback(service.close)
            info = zeroconf.ServiceInfo(SERVICE, f"LARA on {host}.{SERVICE}", port, parsed_addresses=places, server=f"{host}.local.")
            service.register_service(info, allow_name_change=True)  # two sessions in one network
            stack.callback(service.unregister_service, info)
        except (OSError, zeroconf.Error) as error:
            log.warning("Surfaces will not find this by themselves (%s); enter this machine's address and port %d there.", error, port)
            yield None
            return
        yield info.name.removesuffix(f".{SERVICE}")


def _addresses() -> list[str]:
    """IPv4 addresses of this machine in its networks. Raises OSError where it is in none."""
    import ifaddr  # comes with zeroconf

    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4 and not ip.ip.startswith("127.")]
    if not found:
        raise OSError("this machine is in no network")
    return found
