import pytest

from subnet.edge.address_guard import AddressRefusedError, is_public, resolve_address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:0001::",
        "64:ff9b::7f00:1",
        "::808:808",
        "::ffff:0:808:808",
        "64:ff9b:1::808:808",
        "64:ff9b:1:ffff::1",
        "fec0::1",
        "feff::1",
    ],
)
async def test_addresses_inside_our_own_walls_are_not_called(address):
    assert not is_public(address)
    with pytest.raises(AddressRefusedError):
        await resolve_address(address, 80, allow_private=False)
    assert await resolve_address(address, 80, allow_private=True)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111"])
async def test_public_addresses_are_called(address):
    assert await resolve_address(address, 80, allow_private=False) == address


@pytest.mark.parametrize("name", ["localhost", "127.1", "0x7f.1", "2130706433"])
async def test_names_of_this_machine_are_refused_by_what_they_resolve_to(name):
    with pytest.raises(AddressRefusedError):
        await resolve_address(name, 80, allow_private=False)


@pytest.mark.parametrize("name", ["", "no.such.host.invalid", "a" * 300, "x..y", "\0"])
async def test_what_does_not_resolve_is_refused(name):
    with pytest.raises(AddressRefusedError):
        await resolve_address(name, 80, allow_private=True)
