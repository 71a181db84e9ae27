"""The words of the demo's synthetic sentences: ordinary names and everyday phrases, not about anyone or anything real."""

from collections.abc import Mapping


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(line.split()) for line in text.strip().splitlines())


NAMES = _words("""
    Ashdown Balmer Barrow Beckett Bellamy Brandt Calder Carrow Clayborne Corwin Dalton Darrow Denholm Draycott Dunmore Easton
    Eldridge Ellsworth Fairfax Farley Fenwick Garrick Glendale Gorman Grantham Hadley Halden Harlan Hartwell Hollis Ingram
    Jansen Kearney Kendall Kingsley Langdon Larkin Lorne Lowell Madden Marlow Merrick Milford Montrose Morley Nolan Norwood
    Oakley Osborne Paxton Pelham Prescott Quincy Radley Ramsey Redmond Ridgeway Rockwell Rowland Selby Sheldon Sherwood
    Stratton Sutton Talbot Tarrant Thornton Tilden Upton Vance Vernon Wakefield Walden Warwick Waverly Weston Whitley Wickham
    Winslow Wyndham Yardley
""")
"""Each can be a person's, a firm's or a place's: only the context says which."""

NOUNS = _words("""
    baker barn brook carpenter cliff field forest fox garden hawk hill hunter lamb marsh mason meadow miller orchard pond potter
    reed ridge shepherd stone tower wolf
""")
"""Ordinary nouns that are names as well: outside of a name they carry no tag."""

FIRST_NAMES = _words("""
    Adam Aisha Amelia Anders Anita Beatrice Boris Carla Cedric Chloe Daniela Diego Elena Emil Farah Fiona Gustav Hana Hugo Ines
    Ivan Jasmin Joseph Karin Kofi Laila Leon Lucia Magnus Mei Miriam Nadia Noah Olga Oscar Petra Priya Rafael Ruth Samir Sofia
    Tariq Thomas Ursula Victor Wanda Yusuf Zoe
""")

PERSON_DOES = _phrases("""
    smiled politely
    wrote a long letter
    fell asleep at the table
    laughed at the joke
    lost both of his gloves
    whispered something to the children
    broke an arm last winter
    forgot the umbrella again
    retired at the age of sixty
    played the violin for an hour
    cried during the funeral
    studied law and history
    cooked dinner for the guests
    apologised to the neighbours
    learned to swim as a child
    gave a short speech
    injured a knee in the second half
    painted portraits of old sailors
    shook hands with everyone
    drank another cup of tea
    remembered the wedding very well
    won the gold medal in rowing
    read the novel twice
    was diagnosed with a rare disease
""")

FIRM_DOES = _phrases("""
    reported a loss for the third quarter
    dismissed two hundred employees
    recalled thousands of faulty heaters
    issued new shares on Monday
    filed for bankruptcy protection
    raised its dividend again
    launched a cheaper phone
    denied having fixed any prices
    sold its insurance division
    outsourced the payroll department
    was fined for tax evasion
    supplies engines to most airlines
    cut its annual profit forecast
    signed a contract with the unions
    appointed a new board of directors
    holds a patent on the battery
    missed the analysts ' expectations
    manufactures pumps and valves
    will merge with a rival next year
    was listed on the stock exchange
    owes its creditors forty million
    runs a chain of supermarkets
    invested heavily in solar cells
    shut down its last factory
""")

PLACE_DOES = _phrases("""
    was flooded after the storm
    lies on the northern coast
    has a population of nine thousand
    is famous for its cathedral
    was destroyed by the earthquake
    elected its first female mayor
    can only be reached by ferry
    attracts tourists all summer
    has narrow streets and three bridges
    is the capital of the province
    saw heavy snow over the weekend
    belongs to the eastern district
    was occupied during the war
    has no airport of its own
    is surrounded by vineyards
    borders on two other counties
    hosted the winter games
    is a quiet village near the border
    suffers from frequent droughts
    was founded by monks a thousand years ago
    has mild winters and dry summers
    lost its railway station
    looks beautiful from the air
    stands two miles above sea level
""")

PERSON_TO_FIRM = _phrases("""
    resigned from
    was hired by
    founded
    is the chief accountant of
    sued
    bought shares in
    works for
    was promoted to director at
    audited the books of
    leads the sales team at
    left a well paid job at
    invested his savings in
""")

PERSON_TO_PLACE = _phrases("""
    was born in
    moved to
    spent the holidays in
    flew to
    grew up near
    drove through
    fled from
    was buried in
    bought a cottage outside
    missed the last train to
    hiked from the coast to
    owns a farm near
""")

PERSON_TO_PERSON = _phrases("""
    married
    thanked
    embraced
    is the elder brother of
    had lunch with
    interviewed
    was engaged to
    quarrelled with
    shared a flat with
    was taught to read by
    danced with
    is a close friend of
""")

FIRM_TO_FIRM = _phrases("""
    acquired a majority stake in
    outbid
    licensed its software to
    is a subsidiary of
    competes with
    bought its debts from
    made a takeover bid for
    formed a joint venture with
    delivers spare parts to
""")

FIRM_TO_PLACE = _phrases("""
    opened an office in
    moved its headquarters to
    built a warehouse near
    closed all its branches in
    ships most of its goods from
    is drilling for gas off
    will build a hotel in
    employs half of the workers in
    pays no taxes in
""")

NOUN_DOES = _phrases("""
    was painted green
    looked smaller than before
    could be seen from the road
    had been there for years
    was sold at the market
    seemed quite old
    appears on the cover of the book
    was mentioned in every guide
    is gone now
""")

OPEN_WORDS: Mapping[str, tuple[str, ...]] = {
    "first": FIRST_NAMES,
    "surname": NAMES,
    "noun": NOUNS,
    "person_does": PERSON_DOES,
    "firm_does": FIRM_DOES,
    "place_does": PLACE_DOES,
    "person_to_firm": PERSON_TO_FIRM,
    "person_to_place": PERSON_TO_PLACE,
    "person_to_person": PERSON_TO_PERSON,
    "firm_to_firm": FIRM_TO_FIRM,
    "firm_to_place": FIRM_TO_PLACE,
    "noun_does": NOUN_DOES,
}
"""Symbol of the grammar to its words or phrases; a part of each is kept for the test sentences."""
