"""Tiers 3 to 5 of `extraction`: one order out of a shop's mail, as a nested JSON object.

Tier 3: the order stands among others. Tier 4: corrections and discounts come later in the text.
Tier 5: which order is meant has to be worked out, and quantities come in dozens, too.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from subnet.core.benchmark.draws import Draws
from subnet.core.benchmark.words import CITIES, THINGS, person, sentence

DOZEN: Final = 12
ORDERS: Final = {3: 3, 4: 8, 5: 24}
OPENINGS = (
    "Order {number}: {name} from {city} asks for {items}.",
    "{name} of {city} placed order {number} for {items}.",
    "We noted order {number} by {name} ({city}): {items}.",
)
CORRECTIONS = (
    "Correction to order {number}: the {product} is now {quantity} pieces.",
    "For order {number}, make the {product} {quantity} pieces after all.",
)
DISCOUNTS = (
    "Order {number} gets {discount} TAO off.",
    "We take {discount} TAO off the total of order {number}.",
)
COURIERS = ("by boat", "by cart", "on foot", "by train")
SHIPMENTS = ("Order {number} goes {courier}.", "Send order {number} {courier}.")


@dataclass(frozen=True)
class Item:
    """A line of an order; the price is of one piece, in TAO."""

    product: str
    quantity: int
    price: int


@dataclass(frozen=True)
class Order:
    """An order as it finally stands."""

    number: int
    name: str
    city: str
    courier: str
    items: tuple[Item, ...]
    discount: int = 0
    is_cancelled: bool = False

    @property
    def total(self) -> int:
        """What is to be paid, in TAO."""
        return sum(item.quantity * item.price for item in self.items) - self.discount

    def as_object(self) -> dict[str, Any]:
        """The JSON object that is asked for, without its note."""
        return {
            "order": self.number,
            "customer": {"name": self.name, "city": self.city},
            "items": [
                {"product": one.product, "quantity": one.quantity, "price": one.price}
                for one in sorted(self.items, key=lambda item: item.product)
            ],
            "courier": self.courier,
            "total": self.total,
        }


def schema() -> dict[str, Any]:
    """Of `Order.as_object` with its note, as a JSON schema."""
    integer, text = {"type": "integer"}, {"type": "string"}
    item = _object(product=text, quantity=integer, price=integer)
    return _object(
        order=integer,
        customer=_object(name=text, city=text),
        items={"type": "array", "items": item},
        courier=text,
        total=integer,
        note=text,
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def mail(draws: Draws, tier: int) -> tuple[str, str, Order]:
    """(which order is meant, the text that it has to be taken from, the order)."""
    numbers = sorted(draws.sample(range(11, 100), ORDERS[tier]))
    orders = [_order(draws, number) for number in numbers]
    said = [_opening(draws, order, in_dozens=tier > 4) for order in orders]
    later: list[str] = []
    if tier > 3:
        orders, later = _changed(draws, orders)
    shipments = [draws.choice(SHIPMENTS).format(**vars(order)) for order in orders]
    later += draws.sample(shipments, len(shipments))
    text = [part for one in said for part in (one, *_aside(draws, tier))] + later
    if tier > 4:
        whom, order = _described(draws, orders)
    else:
        order = draws.choice([one for one in orders if not one.is_cancelled])
        whom = f"order {order.number}"
    return whom, " ".join(text), order


def _order(draws: Draws, number: int) -> Order:
    products = draws.sample(THINGS, draws.between(2, 3))
    items = [Item(one, draws.between(2, 40), draws.between(3, 30)) for one in products]
    return Order(number, person(draws), draws.choice(CITIES), draws.choice(COURIERS), tuple(items))


def _opening(draws: Draws, order: Order, *, in_dozens: bool) -> str:
    parts = []
    for item in order.items:
        amount = f"{item.quantity} pieces"
        if in_dozens and item.quantity > DOZEN:
            dozens, left = divmod(item.quantity, DOZEN)
            amount = f"{dozens} dozen" + (f" and {left} pieces" if left else "")
        parts.append(f"{item.product}, {amount} at {item.price} TAO each")
    items = "; ".join(parts)
    opening = draws.choice(OPENINGS)
    return opening.format(number=order.number, name=order.name, city=order.city, items=items)


def _aside(draws: Draws, tier: int) -> tuple[str, ...]:
    return (sentence(draws),) if tier > 3 and draws.chance(1, 2) else ()


def _changed(draws: Draws, orders: list[Order]) -> tuple[list[Order], list[str]]:
    """The orders after what is said about them later, and what is said. Some change twice."""
    found = {order.number: order for order in orders}
    said = []
    for _ in range(len(orders)):
        order = found[draws.choice(orders).number]
        kind = draws.below(4)
        if kind == 0 and sum(not one.is_cancelled for one in found.values()) > 2:
            found[order.number] = replace(order, is_cancelled=True)
            said.append(f"Order {order.number} is cancelled.")
        elif kind == 1:
            discount = draws.between(1, 5)
            found[order.number] = replace(order, discount=order.discount + discount)
            line = draws.choice(DISCOUNTS)
            said.append(line.format(number=order.number, discount=discount))
        else:
            at, quantity = draws.below(len(order.items)), draws.between(2, 40)
            item = order.items[at]
            items = (*order.items[:at], replace(item, quantity=quantity), *order.items[at + 1 :])
            found[order.number] = replace(order, items=items)
            line = draws.choice(CORRECTIONS)
            said.append(line.format(number=order.number, product=item.product, quantity=quantity))
    return [found[order.number] for order in orders], said


def _described(draws: Draws, orders: list[Order]) -> tuple[str, Order]:
    """An order that stands, by what makes it the only one: its total among those of a kind."""
    standing = [order for order in orders if not order.is_cancelled]
    courier = draws.choice(standing).courier
    alike = [order for order in standing if order.courier == courier]
    totals = [order.total for order in alike]
    highest = max(totals)
    chosen = max(alike, key=lambda order: (order.total, -order.number))
    tie = " (of equals, the lowest number)" if totals.count(highest) > 1 else ""
    return f"the order with the highest total among those that go {courier}{tie}", chosen
