"""The wordings of long agreements."""

from typing import Final

SERVICES_LONG = ("garden work", "bread delivery", "roof repair", "music lessons", "night watch",
                 "book keeping", "boat storage", "wool supply", "well digging", "map printing",
                 "bridge tolls", "bell tuning")  # fmt: skip
LABELS: Final = {
    3: ("Client", "Provider", "Service", "Fee", "Term", "Notice"),
    4: ("Client", "Provider", "Service", "Fee", "Term", "Notice", "Penalty", "Total"),
    5: ("Client", "Provider", "Service", "Fee", "Term", "Notice", "Penalty", "Court", "Total"),
}
UNITS: Final = {
    "Fee": " TAO a month",
    "Term": " months",
    "Notice": " weeks",
    "Penalty": " TAO a day",
    "Total": " TAO",
}
OPENINGS = (
    "This agreement is between {Client}, the client, and {Provider}, the provider.",
    "{Provider} (the provider) and {Client} (the client) agree as follows.",
)
TERMS: Final = {
    "Service": (
        "The provider is engaged for {value}.",
        "What the client buys under this agreement is {value}.",
    ),
    "Fee": (
        "The client pays {value} TAO every month.",
        "The monthly fee is {value} TAO.",
    ),
    "Term": ("The agreement runs for {value} months.", "Its term is {value} months."),
    "Notice": (
        "Either side may end it with {value} weeks of notice.",
        "The notice period is {value} weeks.",
    ),
    "Penalty": (
        "Each day of late payment costs a penalty of {value} TAO.",
        "The penalty for late payment is {value} TAO a day.",
    ),
    "Court": ("Disputes are heard in {value}.", "The court of {value} decides disputes."),
}
CHANGES: Final = {
    "Client": "{value} takes the place of the client.",
    "Provider": "{value} takes the place of the provider.",
    "Service": "the provider is engaged for {value} instead.",
    "Fee": "the monthly fee becomes {value} TAO.",
    "Term": "the term becomes {value} months in all.",
    "Notice": "the notice period becomes {value} weeks.",
    "Penalty": "the penalty for late payment becomes {value} TAO a day.",
    "Court": "disputes are heard in {value} from then on.",
}
ADDITIONS: Final = {
    "Fee": "the monthly fee that was in force until then rises by {value} TAO.",
    "Term": "the term that was agreed until then grows by {value} months.",
    "Notice": "the notice period that held until then grows by {value} weeks.",
    "Penalty": "the daily penalty that was in force until then rises by {value} TAO.",
}
FILLERS = (
    "The provider keeps its records for {n} years.",
    "The provider is insured for {n} thousand TAO.",
    "{who} is the provider's contact and answers within {n} hours.",
    "Visits to the site in {city} are announced {n} days ahead.",
    "Material that costs more than {n} TAO needs the client's consent.",
    "A subcontractor from {city} may do up to {n} percent of the work.",
    "The parties meet in {city} every {n} weeks.",
    "A deposit of {n} TAO is returned when the agreement ends.",
    "Complaints go to {who}, who has {n} days to answer.",
    "If {city} is flooded, all dates move by {n} days.",
    "The warranty on repaired parts is {n} months.",
    "{who} holds {n} keys and returns them at the end.",
    "Copies of this agreement lie with {who} in {city}, on shelf {n}.",
    "Work before {n} minutes past seven needs permission.",
    "An earlier draft named a fee of {n} TAO and was dropped.",
    "An agreement with {who} of {city}, for {n} months, is not part of this one.",
)
