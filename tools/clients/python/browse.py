"""Drives the search page in a headless Chromium: browse.py URL FOLDER-OF-PICTURES FOLDER-FOR-SCREENSHOTS"""

import base64
import json
import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

url, pictures, shots = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

DROP = """
const [id, name, data] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const dropped = new DataTransfer();
dropped.items.add(new File([bytes], name, { type: "image/png" }));
const zone = document.getElementById(id);
for (const kind of ["dragover", "drop"]) zone.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
"""
LOADED = "return [...document.querySelectorAll('#results img')].every((image) => image.complete && image.naturalWidth > 0)"


def start():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,1000", "--lang=en"]:
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


class Page:
    def __init__(self, driver):
        self.driver = driver
        self.requested = []

    def at(self, name):
        return self.driver.find_element(By.ID, name)

    def until(self, what, said):
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: what(), f"{said}; the page says {self.says()!r}")

    def says(self):
        return self.at("status").text + self.at("problem").text

    def captions(self):
        return [one.text for one in self.driver.find_elements(By.CSS_SELECTOR, "#results .caption")]

    def finds(self, said):
        """Waits for results that the page announces so, and for their pictures."""
        self.until(lambda: said in self.says() and self.captions(), f"never said {said!r}")
        self.until(lambda: self.driver.execute_script(LOADED), "a picture is not shown")
        return self.captions()

    def shot(self, name):
        self.driver.save_screenshot(str(shots / f"{name}.png"))

    def look(self):
        """What the browser asked for so far, and the page's complaints."""
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self.requested.append(event["params"]["request"]["url"])
        return [entry["message"] for entry in self.driver.get_log("browser") if "favicon" not in entry["message"]]


def main(driver):
    page = Page(driver)
    driver.get(url)
    page.until(lambda: len(Select(page.at("table")).options) == 2, "the tables are not offered")
    page.shot("1-opened")

    # By words, with the keyboard alone: the field has the focus.
    driver.switch_to.active_element.send_keys("green", Keys.ENTER)
    found = page.finds('nearest to "green"')
    assert found[0] == "green" and len(found) == 6, found
    assert "<img src=x onerror=alert(1)>" in found, found
    assert not driver.find_elements(By.CSS_SELECTOR, "#results [onerror]"), "a name was taken for markup"
    assert "ms" in page.says() and "distance" in driver.find_element(By.CSS_SELECTOR, "#results .figures").text
    page.shot("2-words")

    # By a picture that is dropped, and by one that is chosen.
    driver.execute_script(DROP, "ask-drop", "blue.png", base64.b64encode((pictures / "blue.png").read_bytes()).decode())
    assert page.finds("nearest to blue.png")[0] == "blue"
    page.shot("3-picture")
    page.at("ask-file").send_keys(str(pictures / "red.png"))
    assert page.finds("nearest to red.png")[0] == "red"
    # Like a row, which is not among its own neighbours.
    driver.find_element(By.CSS_SELECTOR, "#results .similar").click()
    found = page.finds("5 nearest to red")
    assert "red" not in found and len(found) == 5, found

    # A picture is added, found, and removed.
    page.at("add-details").find_element(By.TAG_NAME, "summary").click()
    page.at("add-file").send_keys(str(pictures / "progressive.jpg"))
    page.at("name").clear()
    page.at("name").send_keys("<b>added</b>")
    page.shot("4-adding")
    page.at("add-go").click()
    page.until(lambda: "<b>added</b> was added as id 7" in page.says(), "it is not added")
    page.at("ask-file").send_keys(str(pictures / "progressive.jpg"))
    found = page.finds("7 nearest to progressive.jpg")
    assert "<b>added</b>" in found[:2], found
    page.shot("5-added")
    remove = driver.find_element(By.CSS_SELECTOR, 'button[aria-label="Remove <b>added</b>"]')
    remove.click()
    assert remove.text == "Really?", remove.text
    page.shot("6-removing")
    remove.click()
    page.until(lambda: "<b>added</b> was removed" in page.says(), "it is not removed")
    assert "<b>added</b>" not in page.captions()

    # What is refused is told.
    driver.execute_script(DROP, "ask-drop", "no-picture.png", base64.b64encode(b"<svg onload=alert(1)>").decode())
    page.until(lambda: "22P03" in page.says(), "it is not refused")
    assert not page.captions() and not page.at("asked").is_displayed()
    page.shot("7-refused")
    refused = [line for line in page.look() if "400 (Bad Request)" in line]
    assert len(refused) == 1, refused

    # Texts.
    Select(page.at("table")).select_by_visible_text("texts")
    page.at("words").clear()
    page.at("words").send_keys("a kitten in bad weather")
    page.at("go").click()
    found = page.finds("3 nearest to")
    assert found[0].startswith("A cat sat") and "<script>alert(1)</script>" in found, found
    assert not page.at("by-picture").is_displayed() and not page.at("add").is_displayed()
    page.shot("8-texts")

    # Narrow and dark, as a telephone at night.
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    Select(page.at("table")).select_by_visible_text("pictures")
    page.at("words").clear()
    page.at("words").send_keys("red", Keys.ENTER)
    page.finds('nearest to "red"')
    page.shot("9-narrow-and-dark")

    complaints = page.look()
    assert not complaints, complaints
    elsewhere = [asked for asked in page.requested if not asked.startswith((url, "blob:" + url))]
    assert len(page.requested) > 20 and not elsewhere, (len(page.requested), elsewhere)
    print("the page does what it should")


driver = start()
try:
    main(driver)
finally:
    driver.quit()
