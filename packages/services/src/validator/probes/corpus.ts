/** Written for this purpose. Nobody's requests are in it, and nobody's texts. */

export const firstNames =
  'Ada Amir Anna Arun Bea Boris Carla Chen Clara Dan Diego Edda Elif Emma Erik Fatma Finn Gita Hana Hugo Ida Ines Ivan Jana Jonas Kaito Karin Kofi Lara Leo Lena Liam Lin Luca Maja Malik Mara Mia Milan Nadia Nico Nina Noor Olga Omar Otto Paula Piet Priya Quinn Rafa Rosa Ruth Sami Sara Sven Tara Theo Uma Vera Wanda Yara Yusuf Zoe'.split(
    ' ',
  )
export const lastNames =
  'Abadi Albers Anand Bakker Becker Berg Bianchi Blom Castro Chandra Cho Costa Dahl Diaz Duarte Eriksen Farah Fischer Fontana Garcia Haddad Hansen Horvat Ito Jansen Kaya Keller Khan Klein Kowalski Kumar Lang Larsen Lehmann Lopez Maier Marino Martin Mendes Meyer Moreau Nagy Navarro Novak Okafor Olsen Ortiz Park Petrov Popescu Rahman Ricci Romero Rossi Santos Sato Schmid Silva Sousa Tanaka Varga Weber Wolf Zhang'.split(
    ' ',
  )
export const cities =
  'Aarhus Bergen Bilbao Bologna Bremen Brno Cork Dresden Gdansk Genoa Ghent Graz Izmir Krakow Leeds Linz Lyon Malmo Nantes Oporto Ostrava Palermo Plovdiv Riga Rouen Seville Split Tampere Tartu Turin Utrecht Varna'.split(
    ' ',
  )
export const goods =
  'bicycle|bookcase|camera|carpet|chess set|coffee mill|desk lamp|drill|espresso machine|garden hose|guitar|hammock|headphones|hiking boots|kettle|keyboard|ladder|microscope|monitor|office chair|oven dish|paint set|printer|raincoat|record player|sewing machine|sleeping bag|tent|toaster|typewriter|umbrella|violin'.split(
    '|',
  )
export const tones = ['friendly', 'formal', 'brief', 'warm', 'plain', 'cheerful', 'sober', 'polite'] as const

/** What a program says of itself before the question. */
export const systems = [
  'You are a helpful assistant.',
  'You write for the customer service of a small shop. Be short.',
  'Answer in the language of the question. Return nothing but the text that was asked for.',
] as const

/** What people ask: {placeholders} are filled from the seed. Each holds enough of them for 64 bits; a test counts. */
export const templates: readonly string[] = [
  'Write a {tone} mail to {first} {last} in {city}: order {order} ({good}, {amount}) will arrive on {date}.',
  '{first} {last} from {city} asks why invoice {order} of {date} says {amount} for a {good}. Answer in a {tone} tone.',
  'Summarise in one sentence: On {date} {first} {last} of {city} returned a {good}, order {order}, and was paid back {amount}.',
  'Translate into German: "Dear {first} {last}, your {good} (order {order}, {amount}) leaves our store in {city} on {date}."',
  'Make a table with name, city, item, order, price and date from this: {first} {last}, {city}, {good}, {order}, {amount}, {date}.',
  'Correct the spelling, keep all numbers: "{first} {last} form {city} bougth a {good} on {date}, ordr {order}, for {amount}."',
  'Write JSON with the keys name, city, item, order, price, date for: {first} {last} / {city} / {good} / {order} / {amount} / {date}',
  'Which of these two came first, and what did it cost? A: {good}, {date}, {amount}, order {order}, {first} {last}. B: {good}, {date}, {amount}, order {order}, {city}.',
  'Write a {tone} reminder to {first} {last}, {city}: {amount} for order {order} ({good}) were due on {date}.',
  'Turn this note into two polite sentences: {first} {last} / {city} / {good} broken / order {order} / {date} / refund {amount}',
]

/** What stands before a question, where somebody pastes what it is about. */
export const passages: readonly string[] = [
  'Our shop has been open since spring. We sell used and repaired things, and every one of them is checked by hand before it goes on the shelf. What cannot be repaired is taken apart, and its parts are kept.',
  'Deliveries leave twice a week, on Tuesdays and Fridays. Large goods go by a carrier who calls beforehand; small ones go by post, and the number for following them is in the mail that you get on the same day.',
  'Whoever wants to give something back has thirty days, counted from the day it arrived. We ask for a short note that says what was wrong, since that helps the next person. The money is on its way within five working days.',
  'The workshop is on the ground floor, behind the yard. On Saturdays anybody may come with a broken lamp or a torn seam and learn how to mend it. Tools are there, tea too, and nobody has to know anything.',
  'Prices are those on the label. There is no bargaining at the till, but there is a shelf by the door where everything costs one coin, and on the last day of the month that shelf is free.',
  'Some questions come again and again: whether we buy whole households (we do, after a look), whether we come to other towns (within an hour by van), and whether we keep things back (for three days, with a name).',
]

/** What people say when an answer has come; a probe says it only where the conversation before holds the bits. */
export const followUps: readonly string[] = [
  'A little shorter.',
  'Now in Italian, please.',
  'Thanks! Another version?',
  'That is too stiff. Try again',
  'Is the date right?',
  'and as a list?',
  'Which of these numbers did you use?',
  'Add a line that says we are sorry for the trouble.',
  'ok. What would you leave out if it had to be half as long?',
  'Explain why you wrote it that way',
  'Could you check the names again?',
  'perfect, and the same for a text message',
]
