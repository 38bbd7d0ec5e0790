#!/usr/bin/env python3
"""Restore from a Holdfast repository with gpg, zstd and Python 3 alone.

RESTORE.md beside this file explains what to do. Run `python3 restore.py --help` for the commands.
Nothing here needs Holdfast, a network or any Python package. The repository is only read, never changed.
"""

import argparse
import atexit
import base64
import collections
import concurrent.futures
import datetime
import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading

FORMAT_VERSION = 1
PACK_MAX = 24 << 20          # plaintext of a pack
SEALED_MAX = 32 << 20        # sealed pack or record: more is no object of this format
RECORD_MAX = 256 << 20       # manifest with very many packs
LINE_MAX = 64 << 20
AHEAD = 4096                 # extents looked at in advance
# Who may sign what: roles, by the kind of record. All other kinds are the owner's alone.
SIGNERS = {
    "manifest": ("producer",),
    "restore-point": ("scheduler",),
    "finished": ("scheduler",),
}


class Damage(Exception):
    """An object is missing or not what the signed manifest says."""


class Refused(Exception):
    """Something that must not be believed or done."""


class NoKey(Refused):
    """No secret key at hand opens the object."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def shown(text):
    """Text of the backup made safe for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


# --- gpg and zstd ---------------------------------------------------------------------------------------------------

def run_filter(command, data, limit, status=False):
    """Feeds `data` to a program. Returns (exit code, at most `limit` bytes of output, status lines, messages)."""
    read_fd = write_fd = None
    if status:
        read_fd, write_fd = os.pipe()
        command = command[:1] + ["--status-fd", str(write_fd)] + command[1:]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   pass_fds=(write_fd,) if status else ())
    except FileNotFoundError:
        raise Refused("%s is not installed" % command[0])
    finally:
        if status:
            os.close(write_fd)
    lines, messages = [], []

    def feed():
        try:
            process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:
            pass

    def drain(source, into):
        with source:
            into.append(source.read(1 << 20))
            while source.read(1 << 16):
                pass

    threads = [threading.Thread(target=feed), threading.Thread(target=drain, args=(process.stderr, messages))]
    if status:
        threads.append(threading.Thread(target=drain, args=(os.fdopen(read_fd, "rb"), lines)))
    for thread in threads:
        thread.start()
    output = process.stdout.read(limit + 1)
    if len(output) > limit:
        process.kill()
    process.stdout.close()
    for thread in threads:
        thread.join()
    code = process.wait()
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    if len(output) > limit:
        raise Damage("%s gives out more than the %d bytes expected" % (command[0], limit))
    text = b"".join(lines).decode("utf-8", "replace")
    return code, output, text.splitlines(), b"".join(messages).decode("utf-8", "replace").strip()


def unzstd(data, size):
    code, output, _, messages = run_filter(["zstd", "-d", "-c", "-q", "--memory=128MB"], data, size)
    if code != 0:
        raise Damage("zstd: %s" % messages)
    if len(output) != size:
        raise Damage("unpacks to %d bytes, should be %d" % (len(output), size))
    return output


class OpenPgp:
    """Opens sealed objects and says who signed them."""

    def __init__(self, options):
        self.command = shlex.split(options.decrypt_with) if options.decrypt_with else None
        self.gpg = ["gpg", "--batch"] + (["--homedir", options.homedir] if options.homedir else [])
        if options.passphrase_file:
            self.gpg += ["--pinentry-mode", "loopback", "--passphrase-file", options.passphrase_file]
        # Certificates go into a keyring of their own, which is removed in the end. Yours is never written to.
        self.home = tempfile.mkdtemp(prefix="restore-py-")
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        open(os.path.join(self.home, "common.conf"), "w").close()
        self.checker = ["gpg", "--homedir", self.home, "--no-options", "--batch", "--quiet", "--no-autostart",
                        "--trust-model", "always"]

    def decrypt(self, data, limit, keep_signature=False):
        """Plaintext; or the message that was sealed, which still has its signature."""
        if self.command:
            code, output, _, messages = run_filter(self.command, data, limit)
            if code != 0:
                raise Damage("%s: %s" % (self.command[0], messages))
            return output
        what = "--unwrap" if keep_signature else "--decrypt"
        code, output, lines, messages = run_filter(self.gpg + [what], data, limit, status=True)
        status = [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ")]
        words = {s[0] for s in status}
        if "DECRYPTION_OKAY" not in words or "DECRYPTION_FAILED" in words:
            if "DECRYPTION_INFO" not in words and any(s[:2] == ["ERROR", "pkdecrypt_failed"] for s in status):
                raise Refused("gpg has the secret key but cannot use it (passphrase? see --passphrase-file): %s" % messages)
            if not words & {"DECRYPTION_INFO", "DECRYPTION_KEY"} and "ENC_TO" in words:
                keys = sorted({s[1] for s in status if s[0] == "ENC_TO"})
                raise NoKey("cannot decrypt: gpg has none of the secret keys %s (import one, or use --homedir)"
                            % ", ".join(keys))
            raise Damage("gpg cannot decrypt it: %s" % (messages or "exit code %d" % code))
        return output

    def open(self, data, limit):
        """Plaintext of an object that is bound by a hash in a signed manifest."""
        return self.decrypt(data, limit)

    def open_signed(self, data, limit):
        """Plaintext of a record; the fingerprint and the time (in seconds) of its one good signature, or else the fault."""
        if self.command:
            return self.decrypt(data, limit), None, None, "--decrypt-with does not check signatures"
        message = self.decrypt(data, limit + (1 << 16), keep_signature=True)
        _, plain, lines, messages = run_filter(self.checker + ["--decrypt"], message, limit, status=True)
        status = [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ")]
        bad = [s for s in status if s[0] in ("BADSIG", "REVKEYSIG")]
        good = [s for s in status if s[0] == "VALIDSIG"]
        unknown = sorted({s[1] for s in status if s[0] in ("ERRSIG", "NO_PUBKEY")})
        problem = None
        if bad:
            raise Refused("bad signature (%s)" % " ".join(bad[0]))
        if not any(s[0] == "PLAINTEXT" for s in status):
            raise Damage("gpg cannot read what is sealed in it: %s" % messages)
        if len(good) == 1 and len([s for s in status if s[0] == "NEWSIG"]) <= 1:
            ended = [int(s[1]) for s in status if s[0] == "KEYEXPIRED" and s[1].isdigit()]
            if not any(end <= int(good[0][3]) for end in ended):
                return plain, good[0][-1], int(good[0][3]), None
            problem = "signed by %s after this key had expired" % good[0][-1]
        elif unknown:
            problem = "signed by %s, a key that neither the owner's file nor the roster has" % ", ".join(unknown)
        return plain, None, None, problem or "not signed by exactly one key"

    def trust(self, certificates, source):
        """Takes certificates to check signatures with. Returns the fingerprints of their primary keys."""
        code, _, lines, messages = run_filter(self.checker + ["--import"], certificates, 0, status=True)
        found = [line.split()[3] for line in lines if line.startswith("[GNUPG:] IMPORT_OK ")]
        if not found:
            raise Refused("%s: gpg can read no certificate in it: %s" % (source, messages or "exit code %d" % code))
        return set(found)

    def owner(self, wanted):
        """The owner's fingerprint, in a set. `wanted` is a file, or the fingerprint of a key in gpg's keyring."""
        if os.path.exists(wanted):
            with open(wanted, "rb") as file:
                found = self.trust(file.read(RECORD_MAX), wanted)
            if len(found) != 1:
                raise Refused("%s holds %d keys: name a file with the owner's public key alone" % (wanted, len(found)))
            return found
        fingerprint = wanted.upper().replace(" ", "")
        if len(fingerprint) < 40 or not all(c in "0123456789ABCDEF" for c in fingerprint):
            raise Refused("--owner: there is no file %s, and it is no whole fingerprint" % wanted)
        code, exported, _, _ = run_filter(self.gpg + ["--export", fingerprint], b"", RECORD_MAX)
        if code != 0 or not exported:
            raise Refused("--owner: gpg's keyring lacks the key %s; import owner.pub.asc, or name that file" % fingerprint)
        if fingerprint not in self.trust(exported, "gpg's keyring"):
            raise Refused("--owner: %s is not the fingerprint of a whole key" % fingerprint)
        return {fingerprint}


# --- who may say what ------------------------------------------------------------------------------------------------

def seconds(time):
    """A time of a record, in whole seconds as signatures have them."""
    whole = time.rstrip("Z").partition(".")[0]
    parsed = datetime.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    return int(parsed.replace(tzinfo=datetime.timezone.utc).timestamp())


class Roster:
    """Whose key has which role, as the newest issue says that the owner signed. Without an owner nobody is known."""

    def __init__(self, repository):
        self.members, self.issued, self.vouched = {}, None, set()
        newest, unopened, no_key = None, None, None
        for number in repository.numbers("roster"):
            key = "roster/%d" % number
            sealed = repository.read(key, RECORD_MAX)
            digest = hashlib.sha256(sealed).hexdigest()
            try:
                issue = repository.record(key, "roster")
            except NoKey as error:
                # A backup key that was made later opens the later issues only.
                if newest is not None:
                    raise
                unopened, no_key = (number, digest), error
                continue
            repository.id = repository.id or issue["repository"]
            self.follow(issue, newest or unopened, key)
            newest = (number, digest)
        if newest is None:
            raise no_key or Refused("the roster is missing, so that nobody's records count")
        self.number = newest[0]
        certificates = "\n".join(m["certificate"] for m in self.members.values())
        repository.pgp.trust(certificates.encode("utf-8"), "roster/%d" % self.number)
        self.hear(repository)

    def follow(self, issue, before, key):
        """Takes an issue that follows the one before."""
        number, digest = before or (0, None)
        if issue["number"] != number + 1 or key != "roster/%d" % issue["number"]:
            raise Refused("roster/%d is missing, or another issue stands there: the chain of rosters is broken" % (number + 1))
        if issue.get("previous") != digest:
            raise Refused("%s does not follow the issue before it, which has another SHA-256 than it names" % key)
        members = {m["fingerprint"]: m for m in issue["members"]}
        if len(members) != len(issue["members"]):
            raise Refused("%s names a key twice" % key)
        for fingerprint, old in self.members.items():
            if fingerprint not in members or members[fingerprint]["role"] != old["role"]:
                raise Refused("%s lost the key %s, or changed its role" % (key, fingerprint))
        self.members, self.issued = members, issue["issued"]

    def hear(self, repository):
        """Reads the owner's words for records of keys that were revoked."""
        for name in repository.names("vouched"):
            try:
                self.vouched.update(repository.record("vouched/" + name, "vouched")["records"])
            except (Damage, Refused, ValueError, KeyError) as error:
                say("note: a word of the owner cannot be used, and the records that it stands for do not count: %s" % error)

    def problem(self, record, signer, at):
        """The reason why a good signature on a record does not count, whatever else is known; None if there is none."""
        member, roles = self.members.get(signer), SIGNERS[record["holdfast"]]
        if member is None:
            return "signed by %s, a key that the roster does not name" % signer
        if member["role"] not in roles:
            return "signed by %s, a key of the role %s; only %s may sign it" % (signer, member["role"], " or ".join(roles))
        if None not in (member.get("sites"), record.get("site")) and record["site"] not in member["sites"]:
            return "signed by %s, which the roster does not have at the site %s" % (signer, shown(record["site"]))
        if at < seconds(member["from"]) or (member.get("until") and at > seconds(member["until"])):
            return "signed by %s outside the time that the roster gives this key" % signer
        return None

    def revoked(self, signer):
        """The time at which a key was revoked as stolen, if it was."""
        return self.members[signer].get("revoked")


# --- the repository --------------------------------------------------------------------------------------------------

class Repository:
    def __init__(self, options):
        self.root = options.repository
        self.pgp = OpenPgp(options)
        self.cache = max(2, options.cache)
        self.threads = max(1, options.threads)
        self.allow_unsigned, self.accept_revoked = options.allow_unsigned, options.accept_revoked
        self.id, self.roster, self.told = None, None, set()
        path = self.path("repository.pgp")
        if not os.path.exists(path):
            raise Refused("%s is no Holdfast repository: it has no repository.pgp (use --repository DIR)" % self.root)
        if not options.owner and not self.allow_unsigned and not self.pgp.command:
            raise Refused("the owner's public key is needed to tell genuine records from forged ones: --owner owner.pub.asc, "
                          "or its fingerprint if gpg has it")
        self.owner = self.pgp.owner(options.owner) if options.owner and not self.pgp.command else set()
        try:
            self.id = self.record("repository.pgp", "repository")["repository"]
        except NoKey:
            # A backup key that was made later: the roster names the repository, too.
            if not self.owner:
                raise
        if self.owner:
            self.roster = Roster(self)
            say("note: roster %d, issued %s, says whose records count" % (self.roster.number, self.roster.issued))

    def path(self, key):
        return os.path.join(self.root, *key.split("/"))

    def read(self, key, limit):
        try:
            with open(self.path(key), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise Damage("%s is missing" % key)
        if len(data) > limit:
            raise Damage("%s is larger than any object of its kind" % key)
        return data

    def names(self, directory):
        """Names of the objects there. One with `#` is an unfinished upload."""
        try:
            return sorted(name for name in os.listdir(self.path(directory)) if "#" not in name)
        except FileNotFoundError:
            return []

    def numbers(self, directory):
        return sorted(int(n) for n in self.names(directory) if n.isdigit() and str(int(n)) == n)

    def record(self, key, kind):
        sealed = self.read(key, RECORD_MAX)
        try:
            plain, signer, at, problem = self.pgp.open_signed(sealed, RECORD_MAX)
        except (Damage, Refused) as error:
            raise type(error)("%s: %s" % (key, error))
        self.judge(key, problem)
        record = json.loads(plain.decode("utf-8"))
        if not isinstance(record, dict) or record.get("holdfast") != kind:
            raise Refused("%s holds no record of the kind %s: it was put there by mistake or to deceive" % (key, kind))
        if record["version"] > FORMAT_VERSION:
            raise Refused("%s has format version %d: use a newer restore.py" % (key, record["version"]))
        if self.id is not None and record["repository"] != self.id:
            raise Refused("%s belongs to another repository, %s" % (key, record["repository"]))
        if not problem:
            self.judge(key, self.intrusion(key, record, signer, at, hashlib.sha256(sealed).hexdigest()))
        return record

    def judge(self, key, problem):
        """Refuses a record with such a problem, or only warns if that was asked for."""
        if problem and not self.allow_unsigned:
            raise Refused("%s: %s (--allow-unsigned goes on all the same)" % (key, problem))
        if problem:
            self.warn("%s: %s. ANYBODY WHO COULD WRITE TO THIS REPOSITORY MAY HAVE MADE IT." % (key, problem))

    def warn(self, text):
        if text not in self.told:
            self.told.add(text)
            say("WARNING: %s" % text)

    def intrusion(self, key, record, signer, at, digest):
        """The reason why a good signature does not count, if it does not."""
        if record["holdfast"] not in SIGNERS:
            return None if signer in self.owner else "signed by %s, which is not the owner key" % signer
        if self.roster is None:
            return "signed by %s, and without --owner nobody can say whose key that is" % signer
        problem = self.roster.problem(record, signer, at)
        revoked = None if problem else self.roster.revoked(signer)
        if revoked is None:
            return problem
        # The time in a signature is its maker's word. It counts if the owner or the scheduler saw the record as it is.
        if at < seconds(revoked) and (digest in self.roster.vouched or self.is_named(record, digest)):
            return None
        theft = "signed by %s, a key that was revoked as stolen at %s: a thief may have made it, with any time in it" \
            % (signer, revoked)
        if not self.accept_revoked:
            raise Refused("%s: %s. --accept-revoked takes it all the same: do so only for a backup that you know from before "
                          "the theft, and look at what comes back with care" % (key, theft))
        self.warn("%s: %s" % (key, theft))
        return None

    def is_named(self, record, digest):
        """Tells whether the scheduler saw a manifest as it is: the restore point of its run names its SHA-256."""
        if record["holdfast"] != "manifest":
            return False
        try:
            point = self.record("runs/%s/restore-point" % record["run"], "restore-point")
        except (Damage, Refused, ValueError, KeyError):
            return False
        good = [a["status"]["good"]["manifest"] for a in point["artefacts"]
                if a["artefact"]["id"] == record["artefact"] and "good" in a["status"]]
        return point["run"] == record["run"] and digest in good

    def ids(self):
        try:
            names = sorted(os.listdir(self.path("artefacts")))
        except FileNotFoundError:
            return []
        return [n for n in names if len(n) == 32 and os.path.exists(self.path("artefacts/%s/manifest" % n))]

    def find(self, wanted):
        found = [i for i in self.ids() if i.startswith(wanted)]
        if len(wanted) < 4 or len(found) != 1:
            raise Refused("%s names %d artefacts; `list` shows them" % (wanted, len(found)))
        return found[0]

    def manifest(self, artefact):
        key = "artefacts/%s/manifest" % artefact
        manifest = self.record(key, "manifest")
        if manifest["artefact"] != artefact:
            raise Refused("%s is the manifest of another artefact, %s" % (key, manifest["artefact"]))
        return manifest

    def pack_key(self, pack):
        return "packs/%s/%s" % (pack["id"][:2], pack["id"])

    def pack(self, pack):
        """The plaintext of a pack: size and SHA-256 first, then gpg, then zstd."""
        key = self.pack_key(pack)
        if pack["plain"] > PACK_MAX or pack["size"] > SEALED_MAX:
            raise Refused("%s: the manifest gives a size that no pack has" % key)
        sealed = self.read(key, SEALED_MAX)
        if len(sealed) != pack["size"]:
            raise Damage("%s is damaged: %d bytes, should be %d" % (key, len(sealed), pack["size"]))
        if hashlib.sha256(sealed).hexdigest() != pack["sha256"]:
            raise Damage("%s is damaged: its SHA-256 is not the manifest's" % key)
        try:
            return unzstd(self.pgp.open(sealed, SEALED_MAX), pack["plain"])
        except Damage as damage:
            raise Damage("%s: %s" % (key, damage))

    def contents(self, manifest):
        """The lines of an artefact's contents, one at a time."""
        key = "artefacts/%s/contents" % manifest["artefact"]
        expected = manifest["contents"]
        digest, size = hashlib.sha256(), 0
        try:
            file = open(self.path(key), "rb")
        except FileNotFoundError:
            raise Damage("%s is missing" % key)
        with file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
                size += len(block)
            if size != expected["size"] or digest.hexdigest() != expected["sha256"]:
                raise Damage("%s is damaged: its size or SHA-256 is not the manifest's" % key)
            file.seek(0)
            command = self.pgp.command or self.pgp.gpg + ["--decrypt"]
            opener = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        unpacker = subprocess.Popen(["zstd", "-d", "-c", "-q", "--memory=128MB"], stdin=opener.stdout,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        opener.stdout.close()
        try:
            yield from self.lines(unpacker.stdout, key, manifest)
            if unpacker.wait() != 0 or opener.wait() != 0:
                raise Damage("%s cannot be decrypted or unpacked" % key)
        finally:
            unpacker.stdout.close()
            for process in (unpacker, opener):
                process.kill()
                process.wait()

    def lines(self, source, key, manifest):
        read, last = 0, None
        while True:
            line = source.readline(LINE_MAX)
            if not line:
                break
            read += len(line)
            if read > manifest["contents"]["plain"] or not line.endswith(b"\n") or last == "end":
                raise Damage("%s is not what its manifest says" % key)
            entry = json.loads(line.decode("utf-8"))
            if last is None and (entry["e"] != "head" or entry["version"] > FORMAT_VERSION
                                 or entry["artefact"] != manifest["artefact"]):
                raise Damage("%s does not begin as it should" % key)
            last = entry["e"]
            yield entry
        if last != "end":
            raise Damage("%s cannot be decrypted, or is cut short" % key)


def entry_path(entry, text="p", encoded="pb"):
    if encoded in entry:
        return base64.b64decode(entry[encoded])
    return entry[text].encode("utf-8") if text in entry else None


class Selection:
    """Paths wanted: everything under one of them, and the directories above them."""

    def __init__(self, paths):
        self.paths = [os.fsencode(p).strip(b"/") for p in paths or []]
        self.paths = [p[2:] if p.startswith(b"./") else p for p in self.paths if p not in (b"", b".")]
        self.all = not self.paths
        self.found = set()

    def takes(self, entry):
        if self.all or entry["e"] in ("head", "end"):
            return True
        path = entry_path(entry)
        if path is None or entry["e"] == "skip":
            return False
        for wanted in self.paths:
            if path == wanted or path.startswith(wanted + b"/"):
                self.found.add(wanted)
                return True
            if entry["e"] == "dir" and (path == b"." or wanted.startswith(path + b"/")):
                return True
        return False

    def check(self):
        missing = [os.fsdecode(p) for p in self.paths if p not in self.found]
        if missing:
            raise Refused("not in this artefact: %s" % ", ".join(map(shown, missing)))


def extents(repository, manifest, selection):
    for entry in repository.contents(manifest):
        if selection.takes(entry):
            for extent in entry.get("x", ()):
                pack, offset, length = extent[0], extent[1], extent[2]
                if length < 1 or offset < 0 or not 0 <= pack < len(manifest["packs"]) \
                        or offset + length > manifest["packs"][pack]["plain"]:
                    raise Damage("the contents point outside their packs")
                yield pack, offset, length


def chunks(repository, manifest, selection):
    """The stream, chunk by chunk. Packs to come are opened in advance; a few are kept, for streams that go back and forth."""
    ahead, waiting, source = collections.deque(), collections.Counter(), extents(repository, manifest, selection)
    held, upcoming, count, size = collections.OrderedDict(), None, 0, 0
    with concurrent.futures.ThreadPoolExecutor(repository.threads) as pool:
        try:
            while True:
                while len(ahead) < AHEAD:
                    upcoming = upcoming or next(source, None)
                    if upcoming is None:
                        break
                    pack = upcoming[0]
                    if pack not in held:
                        idle = next((p for p in held if not waiting[p]), None)
                        if len(held) >= repository.cache and idle is None:
                            break
                        if len(held) >= repository.cache:
                            del held[idle]
                        held[pack] = pool.submit(repository.pack, manifest["packs"][pack])
                    waiting[pack] += 1
                    ahead.append(upcoming)
                    upcoming = None
                if not ahead:
                    break
                pack, offset, length = ahead.popleft()
                plain = held[pack].result()
                held.move_to_end(pack)
                waiting[pack] -= 1
                count, size = count + 1, size + length
                if not ahead and upcoming is None and selection.all:
                    stream = manifest["stream"]
                    if next(source, None) is None and (size != stream["size"] or count != stream["extents"]):
                        raise Damage("the stream has %d bytes, should have %d" % (size, stream["size"]))
                yield memoryview(plain)[offset:offset + length]
        finally:
            for future in held.values():
                future.cancel()
            source.close()
    selection.check()


# --- commands --------------------------------------------------------------------------------------------------------

def command_list(repository, options):
    rows, faults = [], 0
    for artefact in repository.ids():
        try:
            m = repository.manifest(artefact)
            rows.append((m["started"], m["source"], m["kind"], shown(m["name"]), m["stream"]["size"], artefact))
        except (Damage, Refused, ValueError, KeyError) as error:
            faults += 1
            say("not listed: %s: %s" % (artefact, error))
    rows.sort()
    if options.json:
        names = ("time", "source", "kind", "name", "size", "artefact")
        print(json.dumps([dict(zip(names, row)) for row in rows], indent=1))
        return 1 if faults else 0
    table = [("TIME", "SOURCE", "KIND", "NAME", "BYTES", "ARTEFACT")] + [tuple(map(str, row)) for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(6)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 1 if faults else 0


def command_verify(repository, options):
    """Everything that can be checked without BLAKE3: it stands for the chunks through their packs' SHA-256."""
    manifest = repository.manifest(repository.find(options.artefact))
    findings = []

    def check(pack):
        try:
            repository.pack(pack)
        except Damage as damage:
            return str(damage)
        return None

    count = size = 0
    used = collections.Counter()
    try:
        for pack, _, length in extents(repository, manifest, Selection(None)):
            count, size, used[pack] = count + 1, size + length, used[pack] + length
        if size != manifest["stream"]["size"] or count != manifest["stream"]["extents"]:
            findings.append("the contents give %d bytes, the manifest %d" % (size, manifest["stream"]["size"]))
    except Damage as damage:
        findings.append(str(damage))
    with concurrent.futures.ThreadPoolExecutor(repository.threads) as pool:
        for number, finding in enumerate(pool.map(check, manifest["packs"]), 1):
            if sys.stderr.isatty():
                print("\r%d of %d packs" % (number, len(manifest["packs"])), end="", file=sys.stderr, flush=True)
            if finding:
                findings.append(finding)
    for finding in findings:
        say("DAMAGED: %s" % finding)
    if findings:
        return 1
    print("good: %s %s: %d packs decrypted, %d bytes in %d pieces"
          % (manifest["kind"], shown(manifest["name"]), len(manifest["packs"]), size, count))
    return 0


def command_stream(repository, options):
    manifest = repository.manifest(repository.find(options.artefact))
    if options.path and manifest["stream"]["format"] != "tar":
        raise Refused("--path is for artefacts whose stream is a tar")
    out = sys.stdout.buffer
    if sys.stdout.isatty():
        raise Refused("not to a terminal: redirect the output to a file or a program")
    for chunk in chunks(repository, manifest, Selection(options.path)):
        out.write(chunk)
    out.flush()
    return 0


class ChunkFile:
    """The stream as a file that tarfile can read."""

    def __init__(self, source):
        self.source, self.rest = source, memoryview(b"")

    def read(self, size):
        parts = []
        while size > 0:
            if not self.rest:
                self.rest = next(self.source, None)
                if self.rest is None:
                    self.rest = memoryview(b"")
                    break
            parts.append(bytes(self.rest[:size]))
            self.rest = self.rest[size:]
            size -= len(parts[-1])
        return b"".join(parts)


class Extractor:
    """Writes tar entries below a directory that was empty, and nowhere else."""

    def __init__(self, root):
        self.root, self.faults, self.done = root, 0, 0
        self.directories = []
        self.is_root = os.geteuid() == 0
        self.owners_told = False

    def fault(self, member, problem):
        self.faults += 1
        say("%s: %s" % (shown(member.name), problem))

    def target(self, name, make=False):
        """Where `name` goes; refuses what would leave the directory, be it through a link that stands in the way."""
        parts = [p for p in name.split("/") if p not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise Refused("refused: it would leave the directory")
        path = self.root
        for part in parts[:-1]:
            path = os.path.join(path, part)
            if make and not os.path.lexists(path):
                # It has no entry of its own.
                os.mkdir(path, 0o700)
                os.chmod(path, 0o755)
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise Refused("refused: one of its directories is not a directory")
        return os.path.join(path, parts[-1]) if parts else self.root

    def extract(self, tar, member):
        try:
            target = self.target(member.name, make=True)
            if os.path.lexists(target):
                if not (member.isdir() and stat.S_ISDIR(os.lstat(target).st_mode)):
                    raise Refused("refused: it is there twice")
            self.create(tar, member, target)
            self.done += 1
        except (OSError, Refused) as error:
            self.fault(member, error)

    def create(self, tar, member, target):
        if member.isdir():
            os.makedirs(target, 0o700, exist_ok=True)
            self.directories.append((target, member))
            return
        if member.islnk():
            source = self.target(member.linkname)
            if stat.S_ISLNK(os.lstat(source).st_mode):
                os.link(source, target, follow_symlinks=False)
            else:
                os.link(source, target)
            return
        if member.issym():
            os.symlink(member.linkname, target)
        elif member.isreg():
            tar.makefile(member, target)
        elif member.isfifo():
            os.mkfifo(target, 0o600)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(target, kind | 0o600, os.makedev(member.devmajor, member.devminor))
        else:
            raise Refused("an entry of an unknown type")
        self.attributes(member, target)

    def attributes(self, member, target):
        if self.is_root:
            os.chown(target, member.uid, member.gid, follow_symlinks=False)
        elif not self.owners_told:
            self.owners_told = True
            say("note: not root, so all files will belong to you")
        if not member.issym():
            os.chmod(target, stat.S_IMODE(member.mode))
        for name, value in member.pax_headers.items():
            if name.startswith("SCHILY.xattr."):
                attribute = name[len("SCHILY.xattr."):].replace("%3D", "=").replace("%25", "%")
                try:
                    os.setxattr(target, os.fsencode(attribute), os.fsencode(value), follow_symlinks=False)
                except OSError as error:
                    self.fault(member, "attribute %s: %s" % (shown(attribute), error))
        seconds = self.nanoseconds(member)
        os.utime(target, ns=(seconds, seconds), follow_symlinks=False)

    @staticmethod
    def nanoseconds(member):
        whole, _, fraction = member.pax_headers.get("mtime", str(int(member.mtime))).partition(".")
        part = int((fraction + "000000000")[:9])
        return int(whole) * 10**9 + (-part if whole.startswith("-") else part)

    def finish(self):
        for target, member in reversed(self.directories):
            try:
                self.attributes(member, target)
            except OSError as error:
                self.fault(member, error)


def command_extract(repository, options):
    manifest = repository.manifest(repository.find(options.artefact))
    if manifest["stream"]["format"] != "tar":
        raise Refused("this is a %s, not a tree of files: use `stream`" % manifest["kind"])
    root = os.path.realpath(options.directory)
    os.makedirs(root, 0o700, exist_ok=True)
    if os.listdir(root):
        raise Refused("%s is not empty: name a new directory" % root)
    os.umask(0o077)
    source = chunks(repository, manifest, Selection(options.path))
    extractor = Extractor(root)
    with tarfile.open(fileobj=ChunkFile(source), mode="r|", bufsize=1 << 20, encoding="utf-8",
                      errors="surrogateescape") as tar:
        while True:
            member = tar.next()
            if member is None:
                break
            tar.members = []
            extractor.extract(tar, member)
    for _ in source:
        pass
    extractor.finish()
    say("%d entries restored below %s%s" % (extractor.done, root,
                                            ", %d faults" % extractor.faults if extractor.faults else ""))
    return 1 if extractor.faults else 0


def arguments():
    parser = argparse.ArgumentParser(description="Restore from a Holdfast repository with gpg and zstd.",
                                     epilog="Exit codes: 0 good, 1 damaged or incomplete, 2 bad usage, 4 refused for safety.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--repository", default=here, metavar="DIR", help="the repository (default: where this script is)")
    parser.add_argument("--homedir", metavar="DIR", help="gpg's home with the secret backup key")
    parser.add_argument("--passphrase-file", metavar="FILE",
                        help="where gpg finds the secret key's passphrase (default: gpg asks)")
    parser.add_argument("--owner", metavar="FILE", help="the owner's public key, or its fingerprint if gpg has it: it says "
                        "whose records count")
    parser.add_argument("--accept-revoked", action="store_true",
                        help="take records of keys that were revoked as stolen, which a thief may have made")
    parser.add_argument("--allow-unsigned", action="store_true",
                        help="go on without a signature that counts, and without --owner: a last resort")
    parser.add_argument("--decrypt-with", metavar="COMMAND",
                        help="in place of gpg: reads a sealed object, writes the plaintext (profile rfc9580)")
    parser.add_argument("--cache", type=int, default=8, metavar="PACKS", help="packs kept in memory (default 8)")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="packs opened at once")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    command = commands.add_parser("list", help="all artefacts: time, source, kind, name, size, id")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=command_list)
    command = commands.add_parser("verify", help="check and decrypt every object of an artefact")
    command.add_argument("artefact", help="its id, or the beginning of it")
    command.set_defaults(run=command_verify)
    command = commands.add_parser("stream", help="write a dump, SQL or a tar to the standard output")
    command.add_argument("artefact")
    command.add_argument("--path", action="append", help="of a tar, only what is there or below (repeatable)")
    command.set_defaults(run=command_stream)
    command = commands.add_parser("extract", help="restore files into a new directory")
    command.add_argument("artefact")
    command.add_argument("directory")
    command.add_argument("--path", action="append", help="only what is there or below (repeatable)")
    command.set_defaults(run=command_extract)
    return parser.parse_args()


def main():
    options = arguments()
    for program in ["zstd"] + ([] if options.decrypt_with else ["gpg"]):
        if shutil.which(program) is None:
            say("error: %s is not installed" % program)
            return 2
    try:
        return options.run(Repository(options), options)
    except Refused as error:
        say("refused: %s" % error)
        return 4
    except (Damage, tarfile.TarError) as error:
        say("DAMAGED: %s" % error)
        say("What was written so far is incomplete. Look for another copy of the object (other places hold the same).")
        return 1
    except (ValueError, KeyError, TypeError) as error:
        say("DAMAGED: a record is not of this format: %r" % error)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        say("error: %s" % error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
