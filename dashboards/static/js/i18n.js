// i18n: every word of the page in Finnish, Swedish and English

const WORDS = {
  fi: {
    title: "Pulssi · Helsinki nyt", language: "Kieli", map: "Helsingin kartta", skip: "Siirry luetteloon",
    connecting: "Yhdistetään", live: "Suora", reconnecting: "Yhteys katkesi", stale: "Tieto vanhaa", away: "Tietokanta poissa",
    as_of: "tilanne {time}", data_age: "Tiedon ikä", readings: "Mittauksia/s", vehicle_events: "Ajoneuvotietoja/s",
    rates_chart: "Mittauksia sekunnissa viime minuutteina",
    alerts: "Hälytykset", stations: "Asemat", vehicles: "Liikenne", lists: "Luettelot",
    no_alerts: "Ei avoimia hälytyksiä", no_alerts_more: "Kaikki raja-arvot alittuvat juuri nyt.", no_stations: "Ei asemia näillä rajauksilla", no_vehicles: "Ei ajoneuvoja liikkeellä",
    resolved: "Päättynyt", since: "alkaen {time}", until: "{from}–{to}", acknowledged: "Kuitattu",
    info: "Tieto", warning: "Varoitus", critical: "Kriittinen",
    state_alert: "Hälytys", state_stale: "Hiljaa", state_flagged: "Epäilty", state_ok: "Kunnossa", states: "Näytä asemat tilan mukaan",
    kind_air: "Ilmanlaatu", kind_traffic: "Tieliikenne", kind_weather: "Sää", kind_noise: "Melu", kind_transit: "Joukkoliikenne", kind_system: "Laite",
    level_0: "hyvä", level_1: "tyydyttävä", level_2: "välttävä", level_3: "huono", level_4: "erittäin huono",
    legend: "Selitys", value_levels: "Arvo", delays: "Viive", early: "etuajassa", on_time: "ajallaan", late: "myöhässä", very_late: "yli 6 min", no_delay: "ei tiedossa",
    search: "Hae asemaa", back: "Takaisin", close: "Sulje", heard: "kuultu {age} sitten", no_place: "ei paikkaa",
    measured: "mitattu {time}", hours: "{n} h", chart: "Kuvaaja", loading: "Ladataan…", no_readings: "Ei mittauksia tällä aikavälillä", chart_failed: "Kuvaajaa ei saatu",
    reading: "Mittaus", window_mean: "5 min keskiarvo", window_median: "5 min mediaani", threshold: "raja {value}", chart_summary: "{n} pistettä, {min}–{max} {unit}, viimeisin {last} {unit}",
    direction: "suunta {n}", to: "suuntaan {headsign}", line: "Linja", delay: "Viive", speed: "Nopeus", vehicle: "Ajoneuvo", route: "Reitti", heading_to: "Määränpää",
    readings_stored: "Mittauksia tallessa", vehicle_events_stored: "Ajoneuvotietoja tallessa", indicators_stored: "Tunnuslukuja tallessa", stored_after: "Tallessa viiveellä", dead_letters: "Hylätyt viestit", none: "ei yhtään", tier: "Tietokanta", series: "Sarjoja",
    system: "Järjestelmä", zoom_in: "Lähennä", zoom_out: "Loitonna", home: "Koko kaupunki", day_short: "pv",
    sources: "Rajat: Helsingin kaupunki, CC BY 4.0", open_count: "{n} avointa hälytystä", health_ok: "Kunnossa", health_degraded: "Heikentynyt", health_down: "Poissa",
    flag_range: "alueen ulkopuolella", flag_step: "liian suuri hyppäys", flag_stuck: "jumissa", flag_spike: "piikki", flag_gap: "tauon jälkeen", flag_clock: "kello väärässä", flag_late: "myöhässä", flag_duplicate: "kaksoiskappale", flag_neighbour: "poikkeaa naapureista", flag_drift: "ryömii", flag_humidity: "kostea ilma", flag_channels: "kanavat eri mieltä", flag_provisional: "alustava",
  },
  sv: {
    title: "Pulssi · Helsingfors nu", language: "Språk", map: "Karta över Helsingfors", skip: "Hoppa till listan",
    connecting: "Ansluter", live: "Direkt", reconnecting: "Avbrott", stale: "Gamla data", away: "Databasen borta",
    as_of: "läget {time}", data_age: "Datas ålder", readings: "Mätningar/s", vehicle_events: "Fordonsdata/s",
    rates_chart: "Mätningar per sekund de senaste minuterna",
    alerts: "Larm", stations: "Stationer", vehicles: "Trafik", lists: "Listor",
    no_alerts: "Inga öppna larm", no_alerts_more: "Alla gränsvärden underskrids just nu.", no_stations: "Inga stationer med detta urval", no_vehicles: "Inga fordon i trafik",
    resolved: "Över", since: "sedan {time}", until: "{from}–{to}", acknowledged: "Kvitterat",
    info: "Info", warning: "Varning", critical: "Kritiskt",
    state_alert: "Larm", state_stale: "Tyst", state_flagged: "Tveksam", state_ok: "I ordning", states: "Visa stationer efter läge",
    kind_air: "Luftkvalitet", kind_traffic: "Vägtrafik", kind_weather: "Väder", kind_noise: "Buller", kind_transit: "Kollektivtrafik", kind_system: "Apparat",
    level_0: "god", level_1: "nöjaktig", level_2: "försvarlig", level_3: "dålig", level_4: "mycket dålig",
    legend: "Förklaring", value_levels: "Värde", delays: "Försening", early: "för tidig", on_time: "i tid", late: "försenad", very_late: "över 6 min", no_delay: "okänd",
    search: "Sök station", back: "Tillbaka", close: "Stäng", heard: "hördes för {age} sedan", no_place: "utan plats",
    measured: "uppmätt {time}", hours: "{n} h", chart: "Diagram", loading: "Laddar…", no_readings: "Inga mätningar under denna tid", chart_failed: "Diagrammet kunde inte hämtas",
    reading: "Mätning", window_mean: "5 min medelvärde", window_median: "5 min median", threshold: "gräns {value}", chart_summary: "{n} punkter, {min}–{max} {unit}, senast {last} {unit}",
    direction: "riktning {n}", to: "mot {headsign}", line: "Linje", delay: "Försening", speed: "Fart", vehicle: "Fordon", route: "Rutt", heading_to: "Destination",
    readings_stored: "Mätningar lagrade", vehicle_events_stored: "Fordonsdata lagrade", indicators_stored: "Nyckeltal lagrade", stored_after: "Lagrat efter", dead_letters: "Avvisade meddelanden", none: "inga", tier: "Databas", series: "Serier",
    system: "Systemet", zoom_in: "Zooma in", zoom_out: "Zooma ut", home: "Hela staden", day_short: "d",
    sources: "Gränser: Helsingfors stad, CC BY 4.0", open_count: "{n} öppna larm", health_ok: "I ordning", health_degraded: "Nedsatt", health_down: "Borta",
    flag_range: "utanför området", flag_step: "för stort språng", flag_stuck: "fastnat", flag_spike: "spik", flag_gap: "efter tystnad", flag_clock: "klockan går fel", flag_late: "sen", flag_duplicate: "dubblett", flag_neighbour: "avviker från grannar", flag_drift: "driver", flag_humidity: "fuktig luft", flag_channels: "kanalerna oense", flag_provisional: "preliminär",
  },
  en: {
    title: "Pulssi · Helsinki now", language: "Language", map: "Map of Helsinki", skip: "Skip to the lists",
    connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", stale: "Stale data", away: "Database away",
    as_of: "as of {time}", data_age: "Data age", readings: "Readings/s", vehicle_events: "Vehicle events/s",
    rates_chart: "Readings per second over the last minutes",
    alerts: "Alerts", stations: "Stations", vehicles: "Transit", lists: "Lists",
    no_alerts: "No open alerts", no_alerts_more: "Everything is within its limits right now.", no_stations: "No stations in this selection", no_vehicles: "No vehicles on the road",
    resolved: "Resolved", since: "since {time}", until: "{from}–{to}", acknowledged: "Acknowledged",
    info: "Info", warning: "Warning", critical: "Critical",
    state_alert: "Alert", state_stale: "Silent", state_flagged: "Suspect", state_ok: "OK", states: "Show stations by state",
    kind_air: "Air quality", kind_traffic: "Road traffic", kind_weather: "Weather", kind_noise: "Noise", kind_transit: "Transit", kind_system: "Device",
    level_0: "good", level_1: "satisfactory", level_2: "fair", level_3: "poor", level_4: "very poor",
    legend: "Legend", value_levels: "Value", delays: "Delay", early: "early", on_time: "on time", late: "late", very_late: "over 6 min", no_delay: "unknown",
    search: "Find a station", back: "Back", close: "Close", heard: "heard {age} ago", no_place: "no place",
    measured: "measured {time}", hours: "{n} h", chart: "Chart", loading: "Loading…", no_readings: "No readings in this range", chart_failed: "The chart could not be loaded",
    reading: "Reading", window_mean: "5 min mean", window_median: "5 min median", threshold: "limit {value}", chart_summary: "{n} points, {min}–{max} {unit}, latest {last} {unit}",
    direction: "direction {n}", to: "to {headsign}", line: "Line", delay: "Delay", speed: "Speed", vehicle: "Vehicle", route: "Route", heading_to: "Destination",
    readings_stored: "Readings stored", vehicle_events_stored: "Vehicle events stored", indicators_stored: "Indicators stored", stored_after: "Stored after", dead_letters: "Dead letters", none: "none", tier: "Database", series: "Series",
    system: "System", zoom_in: "Zoom in", zoom_out: "Zoom out", home: "Whole city", day_short: "d",
    sources: "Boundaries: City of Helsinki, CC BY 4.0", open_count: "{n} open alerts", health_ok: "OK", health_degraded: "Degraded", health_down: "Down",
    flag_range: "out of range", flag_step: "jumped too far", flag_stuck: "stuck", flag_spike: "spike", flag_gap: "after a silence", flag_clock: "clock is wrong", flag_late: "late", flag_duplicate: "duplicate", flag_neighbour: "disagrees with neighbours", flag_drift: "drifting", flag_humidity: "humid air", flag_channels: "channels disagree", flag_provisional: "provisional",
  },
};

const QUANTITIES = {
  pm1: "PM1", pm2_5: "PM2.5", pm10: "PM10", no: "NO", no2: "NO₂", nox: "NOₓ", o3: "O₃", so2: "SO₂", co: "CO", trs: "TRS", co2: "CO₂",
  black_carbon: { fi: "Musta hiili", sv: "Svart kol", en: "Black carbon" },
  temperature: { fi: "Lämpötila", sv: "Temperatur", en: "Temperature" },
  road_temperature: { fi: "Tienpinta", sv: "Vägytan", en: "Road surface" },
  dew_point: { fi: "Kastepiste", sv: "Daggpunkt", en: "Dew point" },
  humidity: { fi: "Kosteus", sv: "Fuktighet", en: "Humidity" },
  pressure: { fi: "Ilmanpaine", sv: "Lufttryck", en: "Pressure" },
  wind_speed: { fi: "Tuuli", sv: "Vind", en: "Wind" },
  wind_gust: { fi: "Puuska", sv: "Vindby", en: "Gust" },
  wind_direction: { fi: "Tuulen suunta", sv: "Vindriktning", en: "Wind direction" },
  rain_rate: { fi: "Sade", sv: "Regn", en: "Rain" },
  sound_level: { fi: "Äänitaso", sv: "Ljudnivå", en: "Sound level" },
  speed_mean: { fi: "Keskinopeus", sv: "Medelhastighet", en: "Mean speed" },
  free_flow_share: { fi: "Vapaasta nopeudesta", sv: "Av fri hastighet", en: "Of free flow" },
  flow: { fi: "Liikennemäärä", sv: "Trafikmängd", en: "Flow" },
  flow_share: { fi: "Kapasiteetista", sv: "Av kapaciteten", en: "Of capacity" },
  occupancy: { fi: "Varausaste", sv: "Beläggning", en: "Occupancy" },
  incident: { fi: "Häiriö", sv: "Störning", en: "Incident" },
  delay: { fi: "Viive", sv: "Försening", en: "Delay" },
  on_time_share: { fi: "Ajallaan", sv: "I tid", en: "On time" },
  headway: { fi: "Vuoroväli", sv: "Turintervall", en: "Headway" },
  battery: { fi: "Akku", sv: "Batteri", en: "Battery" },
  rssi: { fi: "Signaali", sv: "Signal", en: "Signal" },
  value: { fi: "Arvo", sv: "Värde", en: "Value" },
};

export const LANGUAGES = Object.keys(WORDS);
let current = pick();

function pick() {
  const asked = new URLSearchParams(location.search).get("lang");
  const wanted = [asked, stored(), ...navigator.languages.map((tag) => tag.slice(0, 2))];
  return wanted.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

function stored() {
  try {
    return localStorage.getItem("pulssi.language");
  } catch {
    return null; // storage can be forbidden; the choice then lasts as long as the page
  }
}

/** The language of the page. */
export function language() {
  return current;
}

/** Change the language and remember it. */
export function setLanguage(tag) {
  current = tag;
  try {
    localStorage.setItem("pulssi.language", tag);
  } catch {
    // forbidden, see above
  }
}

/** The words for a key, with `{name}` filled in. */
export function t(key, values = {}) {
  const words = WORDS[current][key] ?? key;
  return words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Name of a quantity. */
export function quantityName(quantity) {
  const name = QUANTITIES[quantity] ?? quantity;
  return typeof name === "string" ? name : name[current];
}

/** The keys of every language, for the test that none is missing. */
export const keys = () => Object.fromEntries(LANGUAGES.map((tag) => [tag, Object.keys(WORDS[tag])]));
