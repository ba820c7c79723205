// Two people, in browsers of their own, talk to each other over the whole chat.
//
//   BASE_URL   address of the chat (http://127.0.0.1:8080)
//   CHROMIUM   the browser (/usr/bin/chromium)
//   ARTIFACTS  directory for screenshots (artifacts, here); on a failure it also gets one of every page
//
// Each run registers new users, so it can be run again and again, and beside others.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const base = process.env.BASE_URL ?? 'http://127.0.0.1:8080';
const artifacts = path.resolve(process.env.ARTIFACTS ?? new URL('artifacts', import.meta.url).pathname);
const patience = 30_000; // ms for anything to appear; it says when to give up, not how fast the chat has to be
const run = randomBytes(4).toString('hex');
const password = `pw-${randomBytes(9).toString('base64url')}`;

let browser;
let home;
const people = [];
const complaints = [];

before(async () => {
  await mkdir(artifacts, { recursive: true });
  // A home of its own: Chromium would otherwise keep crash reports and settings in the user's.
  home = await mkdtemp(path.join(tmpdir(), 'labctl-browser-'));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-proxy-server',
    ],
  });
});

after(async () => {
  await browser?.close();
  if (home) await rm(home, { recursive: true, force: true });
});

// Person is one page in a context of its own: one device of a user.
class Person {
  constructor(name, page, wire) {
    this.name = name;
    this.page = page;
    this.wire = wire;
  }

  // open shows the sign-in page. With `cuttable`, the socket goes through this test, which can cut it.
  static async open(name, { cuttable = false, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...options });
    context.setDefaultTimeout(patience);
    const wire = { cut: false, sockets: new Set() };
    if (cuttable) {
      await context.routeWebSocket(/\/ws$/, (socket) => {
        if (wire.cut) {
          void socket.close({ code: 4408 });
          return;
        }
        socket.connectToServer();
        wire.sockets.add(socket);
      });
    }
    const page = await context.newPage();
    page.on('pageerror', (error) => complaints.push(`${name}: ${error.stack}`));
    page.on('console', (message) => {
      if (/content security policy|trusted/i.test(message.text())) complaints.push(`${name}: ${message.text()}`);
    });
    const person = new Person(name, page, wire);
    people.push(person);
    await page.goto(base);
    return person;
  }

  async register() {
    await this.page.getByTestId('register-toggle').click();
    await this.signIn();
  }

  async signIn() {
    await this.page.getByTestId('username').fill(this.name);
    await this.page.getByTestId('password').fill(password);
    await this.page.getByTestId('submit').click();
    await this.page.getByTestId('new-chat').waitFor();
  }

  async startChat(name) {
    await this.page.getByTestId('new-chat').click();
    await this.page.getByTestId('new-chat-user').fill(name);
    await this.page.getByTestId('new-chat-start').click();
    await this.titled(name);
  }

  item(title) {
    return this.page.locator(`[data-testid=conversation-item][data-title="${title}"]`);
  }

  async choose(title) {
    await this.item(title).click();
    await this.titled(title);
  }

  async titled(title) {
    await this.page.getByTestId('conversation-title').filter({ hasText: title }).waitFor();
  }

  async say(text) {
    await this.page.getByTestId('composer').fill(text);
    await this.page.getByTestId('composer').press('Enter');
  }

  message(text, state = 'stored') {
    return this.page.locator(`[data-testid=message][data-state=${state}]`, { has: this.page.getByText(text, { exact: true }) });
  }

  async sees(...texts) {
    for (const text of texts) await this.message(text).waitFor();
  }

  // messages are all that stand in the open conversation, in the order in which they are shown. Only what is near the
  // window is drawn, so this scrolls through all of it, and ends at the end.
  messages() {
    return this.page.getByTestId('messages').evaluate(async (box) => {
      const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const found = new Map();
      for (box.scrollTop = 0; ; box.scrollTop += box.clientHeight / 2) {
        await drawn();
        for (const m of box.querySelectorAll('[data-testid=message]')) {
          const text = m.querySelector('[data-testid=text]').textContent;
          found.set(Number(m.closest('li').dataset.index), { seq: Number(m.dataset.seq), sender: m.dataset.sender, text });
        }
        if (box.scrollTop + box.clientHeight >= box.scrollHeight - 1) break;
      }
      return [...found].sort(([a], [b]) => a - b).map(([, m]) => m);
    });
  }

  // Somebody who goes is gone for half a minute before others see it.
  async dot(name, online) {
    await this.item(name).locator(`[data-testid=presence-dot][data-online=${online}]`).waitFor({ timeout: 3 * patience });
  }

  // act chooses something to do with a message.
  async act(text, ...testids) {
    const row = this.message(text);
    await row.hover();
    await row.getByTestId('message-menu').click();
    for (const id of testids) await this.page.getByTestId(id).first().click();
  }

  // home leads to the list, which a conversation hides where there is little room.
  async home() {
    const back = this.page.getByTestId('back');
    if (await back.isVisible()) await back.click();
  }

  async view(name) {
    await this.page.getByTestId(`tab-${name}`).click();
  }

  async settings(section) {
    await this.page.getByTestId('settings').click();
    await this.page.getByTestId(`settings-${section}`).click();
  }

  async close() {
    await this.page.keyboard.press('Escape');
    await this.page.locator('dialog').waitFor({ state: 'detached' });
  }

  async signOut() {
    await this.page.getByTestId('settings').click();
    await this.page.getByTestId('sign-out').click();
    await this.page.getByTestId('username').waitFor();
  }

  async cut() {
    this.wire.cut = true;
    for (const socket of this.wire.sockets) await socket.close({ code: 4408 });
    this.wire.sockets.clear();
  }

  mend() {
    this.wire.cut = false;
  }

  async picture(name) {
    await this.page.screenshot({ path: path.join(artifacts, `${name}.png`), animations: 'disabled' });
  }

  async leave() {
    people.splice(people.indexOf(this), 1);
    await this.page.context().close();
  }
}

// step is a test that leaves pictures of all pages where it fails, and does not run where an earlier one failed. `make test`
// runs the steps up to lastOfQuick and those that say so, `make test-full` runs all.
const lastOfQuick = 'a lost connection is announced, and nothing is lost with it';
const full = process.env.LABCTL_TEST_FULL === '1';
let beyond = false;
let broken = null;
function step(name, work, { quick = !beyond } = {}) {
  const skip = quick || full ? false : 'left to make test-full';
  beyond ||= name === lastOfQuick;
  test(name, { timeout: 5 * patience, skip }, async (t) => {
    if (broken) {
      t.skip(`"${broken}" failed`);
      return;
    }
    try {
      await work(t);
    } catch (error) {
      broken = name;
      const at = name.replace(/[^a-z0-9]+/gi, '-');
      await Promise.allSettled(people.map((p, n) => p.picture(`failed-${at}-${n}-${p.name}`)));
      throw error;
    }
  });
}

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// accessible fails with what axe finds against WCAG 2.2 AA on the page as it is.
async function accessible(person, where) {
  await person.page.evaluate(axe);
  // The contrast of what still comes into sight can't be told.
  await person.page.evaluate(() => Promise.allSettled(document.getAnimations({ subtree: true }).filter((a) => a.effect.getComputedTiming().iterations !== Infinity).map((a) => a.finished)));
  const { violations, passed } = await person.page.evaluate(async () => {
    const runs = [await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })];
    const dialog = document.querySelector('dialog[open]');
    if (dialog) {
      // For axe what lies below a dialog may lie above it. So its contrast is measured once more with nothing below.
      const below = document.body.style;
      [below.visibility, dialog.style.visibility] = ['hidden', 'visible'];
      runs.push(await window.axe.run(dialog, { runOnly: { type: 'rule', values: ['color-contrast'] } }));
      [below.visibility, dialog.style.visibility] = ['', ''];
    }
    return {
      violations: runs.flatMap((r) => r.violations).map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} (${n.failureSummary})`).join('; ')}`),
      passed: runs.flatMap((r) => r.passes).map((p) => p.id),
    };
  });
  assert.ok(passed.includes('color-contrast') && passed.includes('button-name'), `axe looked at ${where}: ${passed.join(' ')}`);
  assert.deepEqual(violations, [], `accessibility of ${where}`);
}

// inOrder holds what a conversation shows against the promise: every message once, by ascending seq.
function inOrder(messages) {
  const seqs = messages.map((m) => m.seq);
  assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b));
}

let alice;
let bob;
const aliceName = `alice-${run}`;
const bobName = `bob-${run}`;
const groupName = `Lab ${run}`;

step('a user registers', async () => {
  alice = await Person.open(aliceName, { cuttable: true });
  await alice.page.getByTestId('submit').waitFor();
  await accessible(alice, 'sign-in');
  await alice.picture('sign-in');
  await alice.register();
});

step('the presence dot of a user follows their coming and going', async () => {
  bob = await Person.open(bobName);
  await bob.register();
  await alice.startChat(bobName);
  await alice.say('Are you there?');
  await alice.sees('Are you there?');
  await alice.dot(bobName, true);
  await bob.signOut();
  await alice.dot(bobName, false);
  await bob.signIn();
  await alice.dot(bobName, true);
});

step('they talk to each other', async () => {
  await alice.say('Good to see you.');
  await bob.item(aliceName).and(bob.page.locator('[data-unread="2"]')).waitFor();
  await bob.choose(aliceName);
  await bob.sees('Are you there?', 'Good to see you.');
  await bob.item(aliceName).and(bob.page.locator('[data-unread="0"]')).waitFor();
  for (let n = 1; n <= 5; n++) {
    await bob.say(`from bob ${n}`);
    await alice.say(`from alice ${n}`);
  }
  const texts = [1, 2, 3, 4, 5].flatMap((n) => [`from bob ${n}`, `from alice ${n}`]);
  await Promise.all([alice.sees(...texts), bob.sees(...texts)]);
  const [atAlice, atBob] = [await alice.messages(), await bob.messages()];
  assert.deepEqual(atAlice, atBob);
  assert.equal(atAlice.length, 12);
  inOrder(atAlice);
  await accessible(alice, 'a direct conversation');
  await alice.picture('direct');
});

step('they answer, edit, react and delete, and see what was read', async () => {
  await bob.act('from alice 5', 'menu-reply');
  await bob.say('an answer to five');
  await alice.message('an answer to five').getByTestId('quote').filter({ hasText: 'from alice 5' }).waitFor();
  await bob.act('an answer to five', 'menu-edit');
  await bob.say('a better answer');
  await alice.message('a better answer').getByTestId('edited').waitFor();
  await alice.act('a better answer', 'quick-reaction');
  await bob.message('a better answer').locator('[data-testid=reaction][aria-pressed=false]').click();
  await alice.message('a better answer').getByTestId('reaction').filter({ hasText: '2' }).waitFor();
  await alice.act('from alice 1', 'menu-delete', 'menu-delete-sure');
  await bob.sees('This message was deleted.');
  assert.equal(await bob.message('from alice 1').count(), 0);
  await alice.say('did you read this?');
  await bob.sees('did you read this?');
  await alice.message('did you read this?').and(alice.page.locator('[data-seen=all]')).waitFor();
  assert.deepEqual(await alice.messages(), await bob.messages());
  await alice.picture('changes');
});

step('one sees that the other writes', async () => {
  await bob.page.getByTestId('composer').pressSequentially('hm');
  await alice.page.locator('[data-testid=conversation-status][data-typing=true]').waitFor();
  await bob.page.getByTestId('composer').fill('');
  await alice.page.locator('[data-testid=conversation-status][data-typing=false]').waitFor();
});

step('stored script in messages, names, titles and links does nothing', async () => {
  const script = '<img src=x onerror="window.stolen=1"><script>window.stolen=2</script>';
  const link = 'javascript:window.stolen=3 data:text/html,<script>window.stolen=4</script> https://example.org/"onclick="window.stolen=5';
  await bob.say(script);
  await bob.say(link);
  await alice.sees(script);
  await alice.page.getByTestId('text').filter({ hasText: 'javascript:' }).waitFor();
  const anchors = await alice.page.getByTestId('messages').locator('a').evaluateAll((list) => list.map((a) => [a.getAttribute('href'), a.rel, a.getAttribute('onclick')]));
  assert.deepEqual(anchors, [['https://example.org/', 'noopener noreferrer nofollow', null]]);
  await bob.settings('profile');
  await bob.page.getByTestId('profile-display').fill('<b onclick=alert(1)>Bob</b>');
  await bob.page.getByTestId('profile-status').fill(script.slice(0, 80));
  await bob.page.getByTestId('profile-bio').fill(script);
  await bob.page.getByTestId('profile-save').click();
  await bob.page.getByTestId('profile-done').filter({ hasText: 'Saved' }).waitFor();
  await alice.page.getByTestId('person-details').click();
  await alice.page.locator('.card-bio').filter({ hasText: script }).waitFor();
  assert.equal(await alice.page.locator('dialog').locator('img, script, b').count(), 0);
  await alice.close();
  await bob.page.getByTestId('profile-display').fill(bobName);
  await bob.page.getByTestId('profile-status').fill('Fixing pipelines');
  await bob.page.getByTestId('profile-bio').fill('Coffee first.');
  await bob.page.getByTestId('profile-save').click();
  await bob.page.getByTestId('profile-done').filter({ hasText: 'Saved' }).waitFor();
  await bob.close();
  await alice.page.reload(); // names are fetched once for each load of the page
  await alice.titled(bobName);
  for (const person of [alice, bob]) {
    assert.equal(await person.page.evaluate(() => window.stolen), undefined);
    assert.equal(await person.page.getByTestId('message').locator('img, script').count(), 0);
  }
});

step('a second device of the same user shows the same', async () => {
  const phone = await Person.open(aliceName, { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark' });
  await phone.signIn();
  await phone.choose(bobName);
  await phone.sees('from bob 5');
  await phone.say('from the phone');
  await Promise.all([alice, bob, phone].map((p) => p.sees('from the phone')));
  assert.deepEqual(await phone.messages(), await alice.messages());
  await accessible(phone, 'a phone in the dark');
  await phone.picture('phone-dark');
  await phone.page.getByTestId('back').click();
  await phone.item(bobName).waitFor();
  await phone.picture('phone-list-dark');
  await phone.leave();
});

step('a lost connection is announced, and nothing is lost with it', async () => {
  await alice.cut();
  await alice.page.getByTestId('banner').waitFor({ state: 'visible' });
  await alice.say('written without a connection');
  await alice.message('written without a connection', 'sending').waitFor();
  await accessible(alice, 'a lost connection');
  for (const n of [1, 2, 3]) await bob.say(`meanwhile ${n}`);
  await bob.sees('meanwhile 3');
  await alice.picture('reconnecting');
  alice.mend();
  await alice.sees('meanwhile 1', 'meanwhile 2', 'meanwhile 3', 'written without a connection');
  await alice.page.getByTestId('banner').waitFor({ state: 'hidden' });
  await bob.sees('written without a connection');
  const shown = await alice.messages();
  inOrder(shown);
  assert.deepEqual(shown, await bob.messages());
});

step('a reload shows the history', async () => {
  const shown = await alice.messages();
  let refreshes = 0;
  alice.page.on('request', (request) => (refreshes += request.url().endsWith('/api/auth/refresh') ? 1 : 0));
  await alice.page.reload();
  await alice.titled(bobName);
  assert.equal(refreshes, 0, 'a reload uses the access token that it has');
  await alice.sees('meanwhile 3');
  assert.deepEqual(await alice.messages(), shown);
});

step('a reload keeps what was being written', async () => {
  await alice.page.getByTestId('composer').fill('half a sentence');
  await alice.page.reload();
  await alice.titled(bobName);
  assert.equal(await alice.page.getByTestId('composer').inputValue(), 'half a sentence');
  await alice.page.getByTestId('composer').fill('');
});

step('a sign-out in one tab ends the others, and leaves nothing behind', async () => {
  const tab = await Person.open(aliceName);
  await tab.page.getByLabel('Stay signed in').check();
  await tab.signIn();
  const page = await tab.page.context().newPage();
  const second = new Person(aliceName, page, tab.wire);
  await page.goto(base);
  await second.choose(bobName);
  await page.getByTestId('composer').fill('half a sentence');
  await tab.page.context().setOffline(true); // so that the server is not who tells the second tab
  await tab.signOut();
  await page.getByText('You signed out in another tab.').waitFor();
  const left = await page.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter((key) => key !== 'labchat.theme'));
  assert.deepEqual(left, []);
  await tab.leave();
});

step('they talk in a group', async () => {
  await alice.page.getByTestId('new-group').click();
  await alice.page.getByTestId('new-group-title').fill(groupName);
  await alice.page.getByTestId('new-group-user').fill(bobName);
  await alice.page.getByTestId('new-group-add').click();
  await alice.page.getByTestId('new-group-create').click();
  await alice.titled(groupName);
  await bob.choose(groupName);
  await alice.say('welcome to the group');
  await bob.sees('welcome to the group');
  await bob.say('glad to be here');
  await alice.sees('glad to be here');
  assert.deepEqual(await alice.messages(), await bob.messages());
  await alice.page.getByTestId('group-details').click();
  await alice.page.locator(`[data-testid=member][data-user="${bobName}"]`).waitFor();
  await accessible(alice, 'group members');
  await alice.picture('group-members');
});

step('what is said after a removal does not reach the one removed', async () => {
  const member = alice.page.locator(`[data-testid=member][data-user="${bobName}"]`);
  await member.getByTestId('member-remove').click();
  await member.getByTestId('member-remove-sure').click();
  await member.waitFor({ state: 'detached' });
  await alice.page.keyboard.press('Escape');
  await bob.item(groupName).waitFor({ state: 'detached' });
  await accessible(bob, 'the notice of a removal');
  await alice.say('now we are alone');
  await alice.sees('now we are alone');
  await alice.picture('group');
  // A message by another way, sent later, is the proof that the first one would have come.
  await alice.choose(bobName);
  await alice.say('still friends?');
  await bob.choose(aliceName);
  await bob.sees('still friends?');
  assert.equal(await bob.page.getByText('now we are alone').count(), 0);
  assert.equal(await bob.item(groupName).count(), 0);
});

step('people ask, accept, and are called by a nickname', async () => {
  await bob.view('people');
  await bob.page.getByTestId('contact-user').fill(aliceName);
  await bob.page.getByTestId('contact-add').click();
  await bob.page.getByTestId('asked').waitFor();
  await alice.page.getByTestId('tab-people').filter({ hasText: '1' }).click();
  await alice.page.getByTestId('request-accept').click();
  await alice.page.locator(`[data-testid=contact][data-user="${bobName}"]`).getByRole('button').first().click();
  await alice.page.getByTestId('nickname').fill('Bobby');
  await alice.page.getByTestId('nickname-save').click();
  await alice.titled('Bobby');
  await alice.page.getByTestId('nickname').fill('');
  await alice.page.getByTestId('nickname-save').click();
  await alice.titled(bobName);
  await alice.close();
  await bob.page.getByTestId('contact').waitFor();
});

step('a block silences the other, until it ends', async () => {
  await alice.page.getByTestId('person-details').click();
  await alice.page.getByTestId('card-block').click();
  await alice.page.getByTestId('card-unblock').waitFor();
  await alice.close();
  await alice.page.getByTestId('blocked').waitFor();
  await accessible(alice, 'a blocked person');
  await bob.view('chats');
  await bob.choose(aliceName);
  // The block goes its way beside the messages: until it is there, what bob says arrives.
  let refused = false;
  for (let n = 1; n <= 20 && !refused; n++) {
    await bob.say(`can you hear me ${n}?`);
    const last = bob.page.getByTestId('message').last();
    await last.and(bob.page.locator('[data-state=stored], [data-state=failed]')).waitFor();
    refused = (await last.getAttribute('data-state')) === 'failed';
  }
  assert.ok(refused, 'a message to who has blocked the sender is refused');
  await accessible(bob, 'a refused message');
  await bob.page.getByTestId('discard').click();
  await alice.page.getByTestId('blocked').getByRole('button').click();
  await alice.page.getByTestId('composer').waitFor();
});

step('one is invited, joins, and gets a role', async () => {
  await alice.view('chats');
  await alice.choose(groupName);
  await alice.page.getByTestId('group-details').click();
  await alice.page.getByTestId('group-user').fill(bobName);
  await alice.page.getByTestId('group-add').click();
  await alice.page.getByTestId('invited').waitFor();
  await bob.page.getByTestId('tab-groups').filter({ hasText: '1' }).click();
  await bob.page.locator(`[data-testid=invitation][data-title="${groupName}"]`).getByTestId('invitation-accept').click();
  await bob.titled(groupName);
  const member = alice.page.locator(`[data-testid=member][data-user="${bobName}"]`);
  await member.getByTestId('member-role').selectOption('admin');
  await alice.page.locator(`[data-testid=member][data-user="${bobName}"][data-role=admin]`).waitFor();
  await alice.close();
  await bob.page.getByTestId('event').filter({ hasText: 'made you an admin' }).waitFor();
  await bob.page.getByTestId('composer').pressSequentially(`hello @${aliceName.slice(0, 3)}`);
  await bob.page.getByTestId('mention-suggestion').filter({ hasText: aliceName }).waitFor();
  await accessible(bob, 'whom to mention');
  await bob.page.keyboard.press('Enter');
  await bob.page.keyboard.press('Enter');
  await alice.page.locator('.mention.me').waitFor();
});

step('a long history draws only what is seen, and search leads into it', async () => {
  await bob.say('the needle of this haystack');
  for (let n = 1; n <= 80; n++) await bob.say(`straw ${n}`);
  await bob.sees('straw 80');
  await alice.sees('straw 80');
  const drawn = await alice.page.getByTestId('message').count();
  assert.ok(drawn < 60, `${drawn} of more than 80 messages are drawn`);
  await alice.page.keyboard.press('Control+k');
  await alice.page.keyboard.type('needle');
  await alice.page.getByTestId('search-result').first().click();
  await alice.sees('the needle of this haystack');
  await alice.page.getByTestId('to-end').click();
  await alice.sees('straw 80');
  await alice.picture('search');
  await alice.page.getByTestId('search').fill('');
});

step('one ends another device, and changes the password', async () => {
  const other = await Person.open(aliceName);
  await other.signIn();
  await alice.settings('devices');
  await alice.page.getByTestId('device-end').first().click();
  await other.page.getByTestId('username').waitFor();
  await other.leave();
  await alice.page.getByTestId('settings-password').click();
  await alice.page.getByTestId('password-now').fill('a wrong password');
  await alice.page.getByTestId('password-new').fill(`${password}2`);
  await alice.page.getByTestId('password-save').click();
  await alice.page.getByTestId('password-error').filter({ hasText: 'wrong' }).waitFor();
  await accessible(alice, 'a refused password');
  await alice.page.getByTestId('password-now').fill(password);
  await alice.page.getByTestId('password-save').click();
  await alice.page.getByTestId('password-done').filter({ hasText: 'was changed' }).waitFor();
  await alice.close();
});

// screens are all that the page can show to somebody who is signed in: how each is opened, and, of what is not a view of its own, how it is
// closed again. What is within a conversation follows that.
const closeDialog = () => alice.close();
const screens = [
  ['a direct conversation', { open: () => alice.choose(bobName) }],
  ['message actions', { within: true, open: () => alice.act('still friends?'), close: closeDialog }],
  ['whether to delete', { within: true, open: () => alice.act('still friends?', 'menu-delete'), close: closeDialog }],
  ['an answer', { within: true, open: () => alice.act('still friends?', 'menu-reply'), close: () => alice.page.getByTestId('composer').press('Escape') }],
  ['an edit', { within: true, open: () => alice.act('still friends?', 'menu-edit'), close: () => alice.page.getByTestId('composer').press('Escape') }],
  ['a person', { within: true, open: () => alice.page.getByTestId('person-details').click(), close: closeDialog }],
  ['a new chat', { open: () => alice.page.getByTestId('new-chat').click(), close: closeDialog }],
  ['a new group', { open: () => alice.page.getByTestId('new-group').click(), close: closeDialog }],
  ['a group', { open: () => alice.choose(groupName) }],
  ['about a group', { within: true, open: () => alice.page.getByTestId('group-details').click(), close: closeDialog }],
  ['people', { open: () => alice.view('people') }],
  ['groups to join', { open: () => alice.view('groups') }],
  ['chats', { open: () => alice.view('chats') }],
  ['what a search finds', {
    open: async () => {
      await alice.page.getByTestId('search').fill('needle');
      await alice.page.getByTestId('search-result').first().waitFor();
    },
    close: () => alice.page.getByTestId('search').fill(''),
  }],
  ...['profile', 'preferences', 'devices', 'password', 'shortcuts'].map((section) => [section, { open: () => alice.settings(section), close: closeDialog }]),
];

const themes = ['light', 'dark'];
const sizes = { wide: { width: 1180, height: 760 }, narrow: { width: 390, height: 780 } };

for (const theme of themes) {
  for (const [size, viewport] of Object.entries(sizes)) {
    step(`every screen is accessible in the ${theme}, ${size}`, async () => {
      await alice.page.setViewportSize(viewport);
      await alice.home();
      await alice.settings('preferences');
      await alice.page.getByTestId(`theme-${theme}`).click();
      await alice.page.locator(`html[data-theme=${theme}]`).waitFor({ state: 'attached' });
      await alice.close();
      for (const [name, { within, open, close }] of screens) {
        if (!within) await alice.home();
        await open();
        if (close === closeDialog) await alice.page.locator('dialog[open]').waitFor();
        await accessible(alice, `${name} in the ${theme}, ${size}`);
        await alice.picture(`${theme}-${size}-${name.replaceAll(' ', '-')}`);
        await close?.();
      }
      await alice.page.setViewportSize(sizes.wide);
    });
  }
}

for (const colorScheme of themes) {
  for (const [size, viewport] of Object.entries(sizes)) {
    step(`the way in is accessible in the ${colorScheme}, ${size}`, async () => {
      const stranger = await Person.open(`nobody-${run}`, { colorScheme, viewport });
      const { page } = stranger;
      const look = async (what) => {
        await accessible(stranger, `${what} in the ${colorScheme}, ${size}`);
        await stranger.picture(`${colorScheme}-${size}-${what.replaceAll(' ', '-')}`);
      };
      await page.getByTestId('submit').waitFor();
      await look('sign-in');
      await page.getByTestId('username').fill(stranger.name);
      await page.getByTestId('password').fill('a wrong password');
      await page.getByTestId('submit').click();
      await page.getByRole('alert').waitFor();
      await look('a refused sign-in');
      await page.getByTestId('register-toggle').click();
      await look('registration');
      await stranger.leave();
    });
  }
}

step('a long list of conversations draws only what is seen, and the arrow keys go through all of it', async () => {
  const many = await Person.open(`carol-${run}`);
  await many.register();
  const { page } = many;
  await page.evaluate(async () => {
    const { access } = JSON.parse(sessionStorage.getItem('labchat.session'));
    for (let n = 1; n <= 60; n++) {
      const answer = await fetch('/api/groups', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${access}` },
        body: JSON.stringify({ title: `Group ${n}`, members: [] }),
      });
      if (!answer.ok) throw new Error(`group ${n}: ${await answer.text()}`);
    }
  });
  await many.item('Group 60').waitFor();
  const rows = page.getByTestId('conversation-item');
  assert.ok((await rows.count()) < 40, 'rows far below the window are not drawn');
  await page.locator('li[aria-posinset="1"][aria-setsize="60"]', { has: many.item('Group 60') }).waitFor();
  await many.item('Group 60').focus();
  await page.keyboard.press('ArrowDown');
  await focusIn(page, '[data-title="Group 59"]');
  await page.keyboard.press('End');
  await focusIn(page, '[data-title="Group 1"]');
  await page.locator('li[aria-posinset="60"][aria-setsize="60"]', { has: many.item('Group 1') }).waitFor();
  assert.equal(await rows.and(page.locator('[tabindex="0"]')).count(), 1, 'Tab comes to one row');
  // The row that Tab comes to stays, wherever one scrolls.
  await page.keyboard.press('Shift+Tab');
  await page.locator('.view.chats').evaluate((box) => box.scrollTo(0, 0));
  await many.item('Group 60').waitFor();
  await page.keyboard.press('Tab');
  await focusIn(page, '[data-title="Group 1"]');
  await page.keyboard.press('Enter');
  await many.titled('Group 1');
  await accessible(many, 'a long list');
  await many.picture('long-list');
  await many.leave();
});

step('the keyboard alone is enough', async () => {
  const { page } = bob;
  await page.getByTestId('new-chat').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type(aliceName.slice(0, -1)); // the field has the focus; all but the last letter
  await page.getByTestId('suggestion').filter({ hasText: aliceName }).waitFor();
  await accessible(bob, 'whom to talk to');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await bob.titled(aliceName);
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.getByTestId('composer').focus();
  await page.keyboard.type('first line');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('second line');
  await page.keyboard.press('Enter');
  await bob.message('first line second line').waitFor();
  assert.equal((await bob.messages()).at(-1).text, 'first line\nsecond line');
  // From the composer to the messages, to the last one, and what can be done with it.
  await page.keyboard.press('ArrowUp');
  await page.getByTestId('intent').waitFor();
  await page.keyboard.press('Escape');
  await page.getByTestId('intent').waitFor({ state: 'detached' });
  await page.getByTestId('messages').focus();
  await page.keyboard.press('ArrowUp');
  await focusIn(page, '[data-row]');
  await page.keyboard.press('Enter');
  await focusIn(page, '[data-testid=quick-reaction]');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await bob.message('first line second line').getByTestId('reaction').waitFor();
  await focusIn(page, '[data-row], [data-testid=message-menu]');
  await page.keyboard.press('Escape');
  await focusIn(page, '[data-testid=composer]');
  // To another conversation, and through the settings.
  await page.keyboard.press('Alt+ArrowDown');
  await bob.titled(groupName);
  await page.keyboard.press('Control+/');
  await page.getByTestId('shortcuts').waitFor();
  await page.keyboard.press('ArrowUp');
  await page.getByTestId('password-now').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.keyboard.press('Control+k');
  await focusIn(page, '[data-testid=search]');
  await page.keyboard.press('Alt+ArrowUp');
  await bob.titled(aliceName);
});

// focusIn waits until what has the focus is such an element.
async function focusIn(page, selector) {
  await page.waitForFunction((wanted) => document.activeElement?.matches(wanted), selector);
}

step('at 400 % zoom all of the page is to be had without scrolling sideways', async () => {
  // WCAG 1.4.10: 1280 by 1024 pixels are 320 by 256 then.
  const { page } = bob;
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 256 });
  // fits says that nothing is wider than the window, and gives how much of an element one sees when it comes into sight.
  const fits = async (where, locator) => {
    assert.deepEqual(await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('.view, .conversation, .messages, dialog')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.className)), [], `${where} is too wide`);
    await locator.scrollIntoViewIfNeeded();
    const ratio = await locator.evaluate((e) => new Promise((done) => new IntersectionObserver(([entry]) => done(entry.intersectionRatio)).observe(e)));
    assert.ok(ratio > 0.99, `${where}: ${ratio} of what is looked for is in sight`);
    await accessible(bob, `${where} at 400 %`);
    await bob.picture(`zoom-${where.replaceAll(' ', '-')}`);
  };
  await page.getByTestId('notice').getByLabel('Dismiss').click(); // of the removal
  await page.getByTestId('back').click();
  await fits('the list', bob.item(groupName));
  const visible = await page.locator('.view.chats').evaluate((box) => box.clientHeight);
  assert.ok(visible >= 2 * 64, `the list has ${visible} px, room for two conversations`);
  await bob.choose(groupName);
  await fits('a conversation', page.getByTestId('composer'));
  await page.getByTestId('back').click();
  await page.getByTestId('new-group').click();
  await fits('a new group', page.getByTestId('new-group-create'));
  await bob.close();
  await bob.settings('preferences');
  await fits('settings', page.getByTestId('preference-typing'));
  await fits('sign out', page.getByTestId('sign-out'));
  await bob.close();
  await page.setViewportSize({ width, height });
  await bob.choose(groupName);
});

step('signing out shows nothing more of the conversation', async () => {
  await bob.signOut();
  assert.equal(await bob.page.getByText('still friends?').count(), 0);
  await bob.page.reload();
  await bob.page.getByTestId('username').waitFor();
});

step('nothing was refused by the content security policy, and no script failed', () => {
  assert.deepEqual(complaints, []);
}, { quick: true });
