"""Session keys of a template that was seen before: the same keys and the same refusals as without its plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fix_tokens import TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKR, CKU
from mrhsm_p11.mapping import attributes
from mrhsm_p11.token.plans import MOST_PLANS, Plans

MakeToken = Callable[..., TokenOnDisk]
AES = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES}
WRAPPING = {**AES, CKA.VALUE: bytes(32), CKA.WRAP: True, CKA.UNWRAP: True, CKA.PRIVATE: False, CKA.MODIFIABLE: True}
WRAPPED_BYTES = (8, 16, 24, 32, 48)
PARTS: dict[int, tuple[Any, ...]] = {
    CKA.CLASS: (CKO.SECRET_KEY, CKO.SECRET_KEY, CKO.SECRET_KEY, CKO.PRIVATE_KEY),
    CKA.KEY_TYPE: (CKK.AES, CKK.AES, CKK.GENERIC_SECRET, CKK.DES3, CKK.RSA),
    CKA.TOKEN: (False, True),
    CKA.PRIVATE: (False, True),
    CKA.SENSITIVE: (False, True),
    CKA.EXTRACTABLE: (False, True),
    CKA.ENCRYPT: (True, b"\2"),
    CKA.LABEL: ("a", "b"),
    CKA.VALUE_LEN: (16, 24, 32, 40),
    CKA.TRUSTED: (True, False),
    CKA.CHECK_VALUE: (b"", b"abc"),
    CKA.START_DATE: (b"20200101", b"20300101"),
    CKA.END_DATE: (b"20250101", b"2025"),
    CKA.WRAP_TEMPLATE: ({CKA.LABEL: "a"}, {}),
    CKA.ALLOWED_MECHANISMS: ([CKM.AES_CBC],),
    CKA.MODULUS_BITS: (2048,),
}
SOUND = (
    AES,
    {**AES, CKA.LABEL: "a", CKA.SENSITIVE: True},
    {**AES, CKA.TOKEN: False, CKA.EXTRACTABLE: False},
    {**AES, CKA.VALUE_LEN: 16},
    {**AES, CKA.VALUE_LEN: 32, CKA.PRIVATE: True},
)
NOT_COMPARED = (CKA.UNIQUE_ID, CKA.ID)  # of which each object has its own


class Player:
    """Makes keys at random, the same for the same seed, and keeps what came of it."""

    def __init__(self, path: Path, token: TokenOnDisk, seed: int) -> None:
        self.p11, self.random = Cryptoki(path), random.Random(seed)
        self.p11.initialize()
        self.sessions = [self.p11.open_session(token.slot_id), self.p11.open_session(token.slot_id, rw=False)]
        self.session, self.kind = self.sessions[0], CKM.AES_KEY_WRAP
        limits = ({}, {CKA.UNWRAP_TEMPLATE: {CKA.LABEL: "a", CKA.SENSITIVE: True}})
        self.keys = [self.p11.create_object(self.session, {**WRAPPING, **more}) for more in limits]
        self.templates = [*SOUND, *(self._template() for _ in range(6))]

    def _template(self) -> dict[int, Any]:
        chosen = [CKA.CLASS, CKA.KEY_TYPE][self.random.random() < 0.1 :]
        chosen += self.random.sample(list(PARTS)[2:], self.random.choice((0, 1, 2, 3, 4)))
        return {cka: self.random.choice(PARTS[cka]) for cka in chosen}

    def play(self, calls: int) -> list[object]:
        return [self._call() for _ in range(calls)]

    def _call(self) -> object:
        choice = self.random.random()
        if choice < 0.05:
            self.session = self.random.choice(self.sessions)
        if choice < 0.1:
            self.templates[self.random.randrange(len(SOUND), len(self.templates))] = self._template()
        if choice < 0.03:
            state = self.p11.session_info(self.session)["state"]
            return state, self.p11.rv("C_Login", self.session, CKU.USER, None, 0)
        if choice < 0.04:
            return self.p11.rv("C_Logout", self.session)
        template = self.random.choice(self.templates)
        return self._generated(template) if choice > 0.7 else self._unwrapped(template)

    def _generated(self, template: dict[int, Any]) -> object:
        kind = self.random.choice((CKM.AES_KEY_GEN, CKM.GENERIC_SECRET_KEY_GEN, CKM.DES3_KEY_GEN))
        return self._made("C_GenerateKey", self.p11.mechanism(kind), *self.p11.template(template))

    def _unwrapped(self, template: dict[int, Any]) -> object:
        kind = self.random.choice((CKM.AES_KEY_WRAP, CKM.AES_KEY_WRAP_KWP, CKM.AES_ECB))
        wrapped = self.p11.encoded(self._wrapped(kind))
        key = self.random.choice(self.keys)
        return self._made("C_UnwrapKey", self.p11.mechanism(kind), key, *wrapped, *self.p11.template(template))

    def _wrapped(self, kind: int) -> bytes:
        from cryptography.hazmat.primitives import keywrap

        plain = bytes(range(self.random.choice(WRAPPED_BYTES)))
        if self.random.random() < 0.1 or kind == CKM.AES_ECB:
            return plain
        if kind == CKM.AES_KEY_WRAP:
            return keywrap.aes_key_wrap(bytes(32), plain.ljust(16, b"\0"))
        return keywrap.aes_key_wrap_with_padding(bytes(32), plain)

    def _made(self, name: str, *arguments: Any) -> object:
        handle = self.p11.new("CK_ULONG *")
        rv = self.p11.rv(name, self.session, *arguments, handle)
        if rv != CKR.OK:
            return name, rv
        kind = [self.p11.get_int(self.session, handle[0], cka) for cka in (CKA.CLASS, CKA.KEY_TYPE)]
        told = self.p11.get_many(self.session, handle[0], attributes.for_class(*kind))
        if name == "C_GenerateKey":
            told = {cka: value for cka, value in told.items() if cka not in (CKA.VALUE, CKA.CHECK_VALUE)}
        shown = {cka: value for cka, value in told.items() if cka not in NOT_COMPARED}
        rv = self.p11.rv("C_SetAttributeValue", self.session, handle[0], *self.p11.template({CKA.LABEL: "changed"}))
        return name, shown, rv, self.p11.rv("C_DestroyObject", self.session, handle[0])


@pytest.mark.parametrize("seed", range(2))
def test_planned_or_not(library_path: Path, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    token, traces, found = make_token(), [], []
    find = Plans.find

    def counted(*arguments: Any) -> Any:
        plan = find(*arguments)
        found.append(plan is not None)
        return plan

    for planned in (counted, lambda *_: None):
        with monkeypatch.context() as patched:
            patched.setattr(Plans, "find", planned)
            player = Player(library_path, token, seed)
            try:
                traces.append(player.play(400))
            finally:
                player.p11.finalize()
    assert sum(found) > 30
    for place, (with_plan, without) in enumerate(zip(*traces, strict=True)):
        assert with_plan == without, f"call {place}"


def test_plans_are_bounded(library_path: Path, make_token: MakeToken) -> None:
    """And a key changed later leaves the plan that others are made by as it is."""
    token, p11 = make_token(), Cryptoki(library_path)
    p11.initialize()
    session = p11.open_session(token.slot_id)
    made = [
        p11.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.LABEL: f"{number % (MOST_PLANS + 5)}"})
        for number in range(2 * MOST_PLANS + 10)
    ]
    from mrhsm_p11.token import provider

    plans = provider.session(session).token.plans
    assert 0 < len(plans._kept) <= MOST_PLANS
    p11.set(session, made[0], {CKA.LABEL: "changed"})
    again = p11.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.LABEL: "0"})
    assert [p11.get(session, key, CKA.LABEL) for key in (made[0], made[MOST_PLANS + 5], again)] == [
        b"changed",
        b"0",
        b"0",
    ]
    p11.finalize()
