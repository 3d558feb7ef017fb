# ruff: noqa: E501 (a screen a line reads as a table; broken lines would not)
"""What can be seen and done in the simulated apps: screens, what they load, what can be tapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

GENRES: dict[str, str] = {
    # Screen | what it loads: METHOD path typical-ms, … | taps: widget "Label" > next screen [METHOD path ms]; …
    "shop": """
Home      | GET /v2/home 180                | search_field "Search" > Search; deal_card "Deal of the day" > Product; cart_icon "Cart" > Cart
Search    | GET /v2/search?page={n} 320     | result_row "Result" > Product; filter_chip "In stock" > Search; back_button "Back" > Home
Product   | GET /v2/products/{n} 140        | add_to_cart "Add to cart" > Product POST /v2/cart/items 210; photo_strip "Photos" > Gallery; cart_icon "Cart" > Cart
Gallery   |                                 | close_button "Close" > Product
Cart      | GET /v2/cart 160                | checkout_button "Check out" > Checkout; quantity_stepper "+1" > Cart PUT /v2/cart/items/{n} 190
Checkout  | GET /v2/delivery-options 260    | pay_button "Pay now" > Receipt POST /v2/orders 740; coupon_field "Apply coupon" > Checkout POST /v2/coupons 230
Receipt   | GET /v2/orders/{n} 200          | home_button "Continue shopping" > Home
""",
    "news": """
TopStories | GET /api/front 150             | story_card "Story" > Article; sections_tab "Sections" > Sections; refresh_button "Refresh" > TopStories GET /api/front 150
Sections   | GET /api/sections 90           | section_row "Science" > TopStories; bookmarks_row "Bookmarks" > Bookmarks
Article    | GET /api/articles/{n} 170      | bookmark_button "Save" > Article PUT /api/bookmarks/{n} 120; related_card "Related" > Article; comments_button "Comments" > Comments
Comments   | GET /api/articles/{n}/comments 240 | reply_button "Reply" > Comments POST /api/comments 310; back_button "Back" > Article
Bookmarks  | GET /api/bookmarks 130         | story_card "Story" > Article
""",
    "bank": """
PinEntry   |                                | unlock_button "Unlock" > Overview POST /auth/unlock 280
Overview   | GET /accounts 220, GET /offers 310 | account_row "Current account" > Account; transfer_button "Transfer" > Transfer; cards_tab "Cards" > Cards
Account    | GET /accounts/{n}/entries 330  | entry_row "Payment" > Entry; more_button "Show more" > Account GET /accounts/{n}/entries?page={n} 360
Entry      | GET /entries/{n} 140           | receipt_button "Receipt" > Entry GET /entries/{n}/receipt.pdf 520; back_button "Back" > Account
Transfer   | GET /payees 190                | confirm_button "Confirm" > Done POST /transfers 910; payee_row "Payee" > Transfer
Cards      | GET /cards 210                 | freeze_switch "Freeze card" > Cards POST /cards/{n}/freeze 440
Done       |                                | ok_button "OK" > Overview
""",
    "travel": """
Explore    | GET /v3/destinations 260       | map_button "Map" > Map; trip_card "São Paulo" > Trip; dates_field "Dates" > Results
Map        | GET /v3/tiles/{n} 90, GET /v3/tiles/{n} 90 | pin "Pin" > Trip; zoom_in "Zoom in" > Map GET /v3/tiles/{n} 90
Results    | GET /v3/fares?day={n} 1250     | fare_row "Fare" > Trip; sort_chip "Cheapest" > Results
Trip       | GET /v3/trips/{n} 240          | book_button "Book" > Passengers; save_heart "Save" > Trip PUT /v3/saved/{n} 150
Passengers | GET /v3/passengers 180         | continue_button "Continue" > Payment POST /v3/holds 680
Payment    | GET /v3/payment-methods 230    | pay_button "Pay" > Explore POST /v3/bookings 1900
""",
    "social": """
Feed       | GET /feed 210, GET /stories 180 | like_button "Like" > Feed POST /posts/{n}/like 90; post_card "Post" > Post; compose_button "New post" > Compose; avatar "Profile" > Profile
Post       | GET /posts/{n} 120             | like_button "Like" > Post POST /posts/{n}/like 90; send_button "Send" > Post POST /posts/{n}/replies 200; back_button "Back" > Feed
Compose    |                                | photo_button "Photo" > Compose POST /media 1400; publish_button "Publish" > Feed POST /posts 350
Profile    | GET /people/{n} 160            | follow_button "Follow" > Profile POST /people/{n}/follow 110; back_button "Back" > Feed
""",
    "music": """
Listen     | GET /home 170                  | play_button "Play" > Player GET /stream/{n} 130; library_tab "Library" > Library; search_tab "Search" > Find
Player     | GET /tracks/{n} 80             | next_button "Next" > Player GET /stream/{n} 130; heart "♥" > Player PUT /likes/{n} 90; down_button "Close" > Listen
Library    | GET /playlists 190             | playlist_row "Playlist" > Playlist
Playlist   | GET /playlists/{n} 210         | shuffle_button "Shuffle" > Player GET /stream/{n} 130; download_switch "Download" > Playlist GET /downloads/{n} 2600
Find       | GET /search?q={n} 280          | track_row "Track" > Player GET /stream/{n} 130
""",
    "fitness": """
Today      | GET /days/{n} 150              | start_button "Start workout" > Workout POST /trainings 240; history_tab "History" > History; goal_ring "Goals" > Goals
Workout    |                                | lap_button "Lap" > Workout; pause_button "Pause" > Workout; finish_button "Finish" > Summary POST /trainings/{n}/finish 380
Summary    | GET /trainings/{n} 190          | share_button "Share" > Summary POST /shares 330; done_button "Done" > Today
History    | GET /trainings?page={n} 270     | workout_row "Workout" > Summary
Goals      | GET /goals 120                 | save_button "Save" > Today PUT /goals 160
""",
    "game": """
Lobby      | GET /player 110, GET /events 140 | play_button "Play" > Match POST /matches 420; shop_button "Shop" > Store; rank_badge "Ranking" > Ranking
Match      | GET /matches/{n} 70            | fire_button "Fire" > Match; jump_button "Jump" > Match; chest "Chest" > Match POST /loot 160; end_button "End" > Score PUT /matches/{n} 300
Score      | GET /scores/{n} 130            | again_button "Play again" > Match POST /matches 420; lobby_button "Lobby" > Lobby
Store      | GET /store 240                 | buy_button "Buy 100 gems" > Store POST /purchases 1300; close_button "Close" > Lobby
Ranking    | GET /ranking?page={n} 350      | friend_row "Friend" > Ranking; close_button "Close" > Lobby
""",
}


class Endpoint(NamedTuple):
    """A request that an app makes. `path` may hold `{n}`, for which a number is put."""

    method: str
    path: str
    typical_ms: int


class Tap(NamedTuple):
    """A widget, the screen (by number) that a tap on it leads to, and what the tap asks of the server."""

    widget_id: str
    label: str
    leads_to: int
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class Screen:
    """A named view."""

    name: str
    loads: tuple[Endpoint, ...]
    taps: tuple[Tap, ...]


def _endpoint(text: str) -> Endpoint | None:
    words = text.split()
    return Endpoint(words[0], words[1], int(words[2])) if words else None


def _tap(text: str, numbers: dict[str, int]) -> Tap:
    widget_id, label, target = text.strip().split('"')
    next_name, _, request = target.replace(">", "").strip().partition(" ")
    return Tap(widget_id.strip(), label, numbers[next_name], _endpoint(request))


def _screens(table: str) -> tuple[Screen, ...]:
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.strip().splitlines()]
    numbers = {row[0]: number for number, row in enumerate(rows)}
    return tuple(
        Screen(
            name,
            tuple(found for text in loads.split(",") if (found := _endpoint(text))),
            tuple(_tap(text, numbers) for text in taps.split(";")),
        )
        for name, loads, taps in rows
    )


SCREENS: dict[str, tuple[Screen, ...]] = {genre: _screens(table) for genre, table in GENRES.items()}
"""The screens of each genre of app; number 0 is the one an app opens with."""
