"""Substrate JSON-RPC: requests in, results and subscription updates out.

No transport here; `subnet.devnet.server` moves the text. A request can fail, a connection cannot:
whatever a client sends is answered.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from subnet.devnet import scale
from subnet.devnet.chain import Chain
from subnet.devnet.extrinsics import EXTRINSIC_BYTES_MAX, InvalidTransactionError
from subnet.devnet.metadata import SPEC_NAME, TRANSACTION_VERSION, api_inputs
from subnet.devnet.raw_storage import RawStorage
from subnet.devnet.schema.calls import APIS
from subnet.devnet.store import Block
from subnet.devnet.views import VIEWS, View, fee_info

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
SERVER_ERROR = -32000
_V15 = 15
PAGE_KEYS_MAX = 1000
BATCH_KEYS_MAX = 4096
QUERY_BYTES_MAX = 4 << 20
CALL_BYTES_MAX = 16 << 10
BATCH_REQUESTS_MAX = 256
SUBSCRIPTIONS_MAX = 128
LAST_STATUSES = frozenset({"finalized", "usurped", "invalid", "dropped"})
ANSWERS_KEPT_MAX = 64
_SHORT_BYTES = 64
NODE_NAME = "Assay devnet"

Message = dict[str, Any] | list[dict[str, Any]]
Send = Callable[[Message], None]


class RpcError(Exception):
    """An answer that says no."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


@dataclass
class Session:
    """One client's connection: where its updates go, and what it has subscribed to."""

    send: Send
    heads: dict[str, str] = field(default_factory=dict)
    watches: set[str] = field(default_factory=set)


class Rpc:
    """The methods of the node. `handle` answers one text frame of one session."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._storage = RawStorage(chain)
        self._ids = count(1)
        self._open: dict[int, Session] = {}
        self._answered: dict[tuple[str, str, bytes], str] = {}
        chain.listeners.append(self._announce)
        self._methods: dict[str, Callable[[Session, list[Any]], Any]] = {
            "chain_getBlockHash": self._block_hash,
            "chain_getHead": self._block_hash,
            "chain_getFinalizedHead": lambda *_: chain.head.hash,
            "chain_getFinalisedHead": lambda *_: chain.head.hash,
            "chain_getHeader": self._get_header,
            "chain_getBlock": self._get_block,
            "chain_subscribeNewHeads": self._subscribe("chain_newHead"),
            "chain_subscribeNewHead": self._subscribe("chain_newHead"),
            "chain_subscribeAllHeads": self._subscribe("chain_allHead"),
            "chain_subscribeFinalizedHeads": self._subscribe("chain_finalizedHead"),
            "chain_unsubscribeNewHeads": self._unsubscribe,
            "chain_unsubscribeNewHead": self._unsubscribe,
            "chain_unsubscribeAllHeads": self._unsubscribe,
            "chain_unsubscribeFinalizedHeads": self._unsubscribe,
            "state_getRuntimeVersion": self._runtime_version,
            "state_getStorage": self._get_storage,
            "state_getStorageAt": self._get_storage,
            "state_queryStorageAt": self._query_storage,
            "state_getKeysPaged": self._keys_paged,
            "state_call": self._call,
            "account_nextIndex": lambda _, params: chain.next_nonce(_text(params, 0)),
            "system_accountNextIndex": lambda _, params: chain.next_nonce(_text(params, 0)),
            "author_submitExtrinsic": self._submit,
            "author_submitAndWatchExtrinsic": self._submit_and_watch,
            "author_unwatchExtrinsic": self._unsubscribe,
            "system_chain": lambda *_: NODE_NAME,
            "system_name": lambda *_: SPEC_NAME,
            "system_version": lambda *_: "1",
            "system_properties": lambda *_: {
                "ss58Format": 42,
                "tokenDecimals": 9,
                "tokenSymbol": "TAO",
            },
            "system_health": lambda *_: {
                "peers": 0,
                "isSyncing": False,
                "shouldHavePeers": False,
            },
            "rpc_methods": lambda *_: {"methods": sorted(self._methods)},
        }

    def connect(self, session: Session) -> None:
        """Begin a session."""
        self._open[id(session)] = session

    def disconnect(self, session: Session) -> None:
        """End a session; its subscriptions end with it."""
        self._open.pop(id(session), None)
        session.heads.clear()
        session.watches.clear()

    def handle(self, session: Session, text: str | bytes) -> None:
        """Answer one frame, a request or a batch of them."""
        for _ in self.steps(session, text):
            pass

    def steps(self, session: Session, text: str | bytes) -> Iterator[None]:
        """Answer one frame, a request at a time: between two, others can have their turn."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            session.send(_failure(None, RpcError(PARSE_ERROR, "Parse error")))
            return
        is_batch = isinstance(request, list)
        if is_batch and not 0 < len(request) <= BATCH_REQUESTS_MAX:
            refusal = RpcError(INVALID_REQUEST, f"A batch has 1 to {BATCH_REQUESTS_MAX} requests")
            session.send(_failure(None, refusal))
            return
        answers: list[dict[str, Any]] = []
        # A subscription's first update must not overtake the answer that carries its id.
        updates: list[Message] = []
        direct, session.send = session.send, updates.append
        try:
            for place, single in enumerate(request if is_batch else [request]):
                if place:
                    yield
                answers.append(self._answer(session, single))
        finally:
            session.send = direct
        direct(answers if is_batch else answers[0])
        for update in updates:
            direct(update)
        yield

    def _answer(self, session: Session, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, RpcError(INVALID_REQUEST, "Invalid request"))
        request_id = request.get("id")
        try:
            result = self._result(session, request["method"], request.get("params"))
        except RpcError as error:
            return _failure(request_id, error)
        except InvalidTransactionError as error:
            return _failure(request_id, RpcError(error.code, error.message, error.data))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            return _failure(request_id, RpcError(INVALID_PARAMS, f"Invalid params: {error}"))
        return {"jsonrpc": "2.0", "id": request_id, "result": result}

    def _result(self, session: Session, method: str, params: Any) -> Any:
        handler = self._methods.get(method)
        if handler is None:
            raise RpcError(UNKNOWN_METHOD, "Method not found")
        if params is not None and not isinstance(params, list):
            raise RpcError(INVALID_PARAMS, "Invalid params: a list is expected")
        return handler(session, params or [])

    # Blocks

    def _find(self, params: list[Any], index: int) -> Block | None:
        block_hash = params[index] if len(params) > index else None
        if block_hash is not None and not isinstance(block_hash, str):
            raise RpcError(INVALID_PARAMS, "Invalid params: a block hash is expected")
        return self._chain.block(block_hash)

    def _at(self, params: list[Any], index: int) -> Block:
        block = self._find(params, index)
        if block is None:
            raise RpcError(SERVER_ERROR, "Client error: UnknownBlock")
        return block

    def _block_hash(self, _: Session, params: list[Any]) -> str | None:
        if not params or params[0] is None:
            return self._chain.head.hash
        number = int(params[0], 16) if isinstance(params[0], str) else int(params[0])
        return self._chain.hash_of(number) if 0 <= number < 1 << 62 else None

    def _get_header(self, _: Session, params: list[Any]) -> dict[str, Any] | None:
        block = self._find(params, 0)
        return None if block is None else _header(block)

    def _get_block(self, _: Session, params: list[Any]) -> dict[str, Any] | None:
        block = self._find(params, 0)
        if block is None:
            return None
        body = {"header": _header(block), "extrinsics": block.extrinsics}
        return {"block": body, "justifications": None}

    def _runtime_version(self, _: Session, params: list[Any]) -> dict[str, Any]:
        self._at(params, 0)
        return {
            "specName": SPEC_NAME,
            "implName": SPEC_NAME,
            "authoringVersion": 1,
            "specVersion": self._chain.metadata.spec_version,
            "implVersion": 1,
            "apis": [],
            "transactionVersion": TRANSACTION_VERSION,
            "stateVersion": 1,
        }

    # State

    def _get_storage(self, _: Session, params: list[Any]) -> str | None:
        return _hex(self._storage.get(_bytes(params, 0), self._at(params, 1)))

    def _query_storage(self, _: Session, params: list[Any]) -> list[dict[str, Any]]:
        block = self._at(params, 1)
        keys = params[0]
        if not isinstance(keys, list) or len(keys) > BATCH_KEYS_MAX:
            raise RpcError(INVALID_PARAMS, "Invalid params: too many keys")
        changes: list[list[Any]] = []
        size = 0
        for place, key in enumerate(keys):
            value = self._storage.get(_bytes(keys, place), block)
            size += len(value or b"")
            if size > QUERY_BYTES_MAX:
                raise RpcError(SERVER_ERROR, "Response is too big")
            changes.append([key, _hex(value)])
        return [{"block": block.hash, "changes": changes}]

    def _keys_paged(self, _: Session, params: list[Any]) -> list[str]:
        limit = int(params[1])
        if not 0 <= limit <= PAGE_KEYS_MAX:
            raise RpcError(INVALID_PARAMS, f"Invalid params: at most {PAGE_KEYS_MAX} keys")
        start = _bytes(params, 2) if len(params) > 2 and params[2] else b""
        keys = self._storage.keys(_bytes(params, 0), limit, start, self._at(params, 3))
        return ["0x" + key.hex() for key in keys]

    def _call(self, _session: Session, params: list[Any]) -> str:
        method, data, block = _text(params, 0), _bytes(params, 1), self._at(params, 2)
        metadata = self._chain.metadata
        if method == "Metadata_metadata_at_version":
            blob = scale.blob(metadata.blob) if int.from_bytes(data, "little") == _V15 else None
            return "0x" + scale.option(blob).hex()
        if method == "Metadata_metadata_versions":
            return "0x" + scale.vector([_V15.to_bytes(4, "little")]).hex()
        if method == "TransactionPaymentApi_query_info":
            info = fee_info(len(data) - 4)
            return "0x" + metadata.encode("RuntimeDispatchInfo", info).hex()
        view = VIEWS.get(method)
        if view is None:
            raise RpcError(SERVER_ERROR, "Client error: Execution failed", _not_exported(method))
        if len(data) > CALL_BYTES_MAX:
            raise RpcError(INVALID_PARAMS, "Invalid params: the input is too long")
        # Clients ask the same of a block at the same time, when it is new.
        question = (block.hash, method, data)
        known = self._answered.get(question)
        if known is None:
            known = self._view(method, view, data, block)
            if len(self._answered) < ANSWERS_KEPT_MAX and len(data) <= _SHORT_BYTES:
                self._answered[question] = known
        return known

    def _view(self, method: str, view: View, data: bytes, block: Block) -> str:
        metadata = self._chain.metadata
        api, _, name = method.partition("_")
        inputs: Any = ()
        expected = len(APIS[api][name].inputs)
        if expected:
            inputs = metadata.decode(api_inputs(api, name), data)
            inputs = (inputs,) if expected == 1 else inputs
        value = view(self._chain.reader(block), *inputs)
        return "0x" + metadata.encode(APIS[api][name].output, value).hex()

    # Extrinsics

    def _submit(self, _: Session, params: list[Any]) -> str:
        return self._chain.submit(_extrinsic(params))

    def _submit_and_watch(self, session: Session, params: list[Any]) -> str:
        self._ensure_room(session)
        subscription = f"watch-{next(self._ids)}"

        def watch(status: Any) -> None:
            if subscription in session.watches:
                session.send(_update("author_extrinsicUpdate", subscription, status))
                if _is_last(status):
                    session.watches.discard(subscription)

        session.watches.add(subscription)
        try:
            self._chain.submit(_extrinsic(params), watch)
        except InvalidTransactionError:
            session.watches.discard(subscription)
            raise
        return subscription

    # Subscriptions

    def _ensure_room(self, session: Session) -> None:
        if len(session.heads) + len(session.watches) >= SUBSCRIPTIONS_MAX:
            raise RpcError(SERVER_ERROR, "Too many subscriptions on this connection")

    def _subscribe(self, method: str) -> Callable[[Session, list[Any]], str]:
        def subscribe(session: Session, _: list[Any]) -> str:
            self._ensure_room(session)
            subscription = f"heads-{next(self._ids)}"
            session.heads[subscription] = method
            session.send(_update(method, subscription, _header(self._chain.head)))
            return subscription

        return subscribe

    def _unsubscribe(self, session: Session, params: list[Any]) -> bool:
        subscription = _text(params, 0)
        known = session.heads.pop(subscription, None) is not None
        if subscription in session.watches:
            session.watches.discard(subscription)
            return True
        return known

    def _announce(self, block: Block) -> None:
        self._answered.clear()
        header = _header(block)
        for session in list(self._open.values()):
            for subscription, method in list(session.heads.items()):
                session.send(_update(method, subscription, header))


def _is_last(status: Any) -> bool:
    """Whether nothing follows: the subscription is over without the client's word."""
    name = status if isinstance(status, str) else next(iter(status))
    return name in LAST_STATUSES


def _header(block: Block) -> dict[str, Any]:
    return {
        "parentHash": block.parent,
        "number": hex(block.number),
        "stateRoot": block.state_root,
        "extrinsicsRoot": block.extrinsics_root,
        "digest": {"logs": []},
    }


def _update(method: str, subscription: str, result: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "method": method,
        "params": {"subscription": subscription, "result": result},
    }


def _failure(request_id: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": error.error}


def _not_exported(method: str) -> str:
    return f"Exported method {method} is not found"


def _text(params: list[Any], index: int) -> str:
    if len(params) <= index or not isinstance(params[index], str):
        raise RpcError(INVALID_PARAMS, f"Invalid params: text is expected at {index}")
    return str(params[index])


def _bytes(params: list[Any], index: int) -> bytes:
    return bytes.fromhex(_text(params, index).removeprefix("0x"))


def _extrinsic(params: list[Any]) -> bytes:
    text = _text(params, 0)
    if len(text) > 2 * EXTRINSIC_BYTES_MAX + 2:
        raise RpcError(INVALID_PARAMS, "Invalid params: the extrinsic is too long")
    return bytes.fromhex(text.removeprefix("0x"))


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()
