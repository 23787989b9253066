import Configuration
import Lab
import Policy
import FDB
import Glibc
import Testing

/// Parses a text; the error has one line for each problem.
func parse(_ text: String) throws(ConfigurationError) -> DaemonConfiguration {
    try DaemonConfiguration.parse(Array(text.utf8), path: "test.toml")
}

/// The problems of a text that must be rejected.
func problems(_ text: String) -> [String] {
    do throws(ConfigurationError) {
        _ = try parse(text)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

struct ConfigurationTests {
    @Test func everyKey() throws {
        let configuration = try parse(
            """
            [daemon]
            state = "/srv/steer"
            resync_interval = "90s"
            receive_buffer = 1_048_576
            repair_burst = 7
            repair_backoff_initial = "250ms"
            repair_backoff_limit = "2min"
            departure_silence = "45s"
            [metrics]
            listen = "[::1]:9924"
            max_connections = 3
            [log]
            level = "debug"
            [redirection]
            proof_timeout = "1500ms"
            require_proof = true
            [bracket]
            max_rate = 200000
            timeout = "1h"
            [announce]
            count = 0
            interval = "20ms"
            [[guest]]
            id = "vm1"
            return_to_primary = "when-back"
            qmp = "/run/qemu/vm1.qmp"
            kind = "net_failover"
            standby_device = "net0"
            primary_device = "hostdev0"
            follow = true
            follow_rx_filter = true
            rx_filter_limit = 12
            addresses_ip = [
                "192.0.2.7", # one
                "2001:DB8:0::7",
            ]
            [libvirt]
            events_command = ["/usr/bin/virsh", "qemu-monitor-event", "--loop"]
            [[guest]]
            id = "vm2"
            domain = "web 1"
            follow = true
            """)
        var wanted = DaemonConfiguration()
        wanted.daemon.state = "/srv/steer"
        wanted.daemon.resyncInterval = 90_000_000_000
        wanted.daemon.receiveBuffer = 1 << 20
        wanted.daemon.repairBurst = 7
        wanted.daemon.repairBackoffInitial = 250_000_000
        wanted.daemon.repairBackoffLimit = 120_000_000_000
        wanted.daemon.departureSilence = 45_000_000_000
        wanted.metrics.listen = ListenAddress("[::1]:9924")
        wanted.metrics.maxConnections = 3
        wanted.log.level = .debug
        wanted.redirection.proofTimeout = 1_500_000_000
        wanted.redirection.requireProof = true
        wanted.bracket.maxRate = 200_000
        wanted.bracket.timeout = 3_600_000_000_000
        wanted.announce.count = 0
        wanted.announce.interval = 20_000_000
        var guest = DaemonConfiguration.Guest(id: try GuestID("vm1"))
        guest.returnToPrimary = .whenBack
        guest.qmp = "/run/qemu/vm1.qmp"
        guest.kind = .netFailover
        guest.standbyDevice = "net0"
        guest.primaryDevice = "hostdev0"
        guest.follow = true
        guest.followRXFilter = true
        guest.rxFilterLimit = 12
        guest.addressesIP = try ["192.0.2.7", "2001:db8::7"].map { try AnnouncementRequest.Owned($0) }
        wanted.libvirt.eventsCommand = ["/usr/bin/virsh", "qemu-monitor-event", "--loop"]
        var second = DaemonConfiguration.Guest(id: try GuestID("vm2"))
        second.domain = "web 1"
        second.follow = true
        wanted.guests = [guest, second]
        #expect(configuration == wanted)
        #expect(guest.addressesIP.map(\.ip.description) == ["192.0.2.7", "2001:db8::7"])
        #expect(guest.addressesIP.last?.ip.octets.prefix(4) == [0x20, 0x01, 0x0d, 0xb8])
        #expect(configuration.guest(try GuestID("vm1")) == guest)
        #expect(try parse("[metrics]\nlisten = \"off\"").metrics.listen == nil)
    }

    @Test func aGuestsOwnWordOnReplayGoesBeforeTheHosts() throws {
        let text = """
            [replay]
            mode = "replay"
            [[guest]]
            id = "vm1"
            [[guest]]
            id = "vm2"
            replay = "off"
            """
        let configuration = try parse(text)
        #expect(configuration.guests.map { configuration.replays($0, recorded: nil) } == [true, false])
        // A guest's own table goes before what `prepare` said, and that before the host's.
        #expect(configuration.guests.map { configuration.replays($0, recorded: .off) } == [false, false])
        #expect(configuration.guests.map { configuration.replays($0, recorded: .replay) } == [true, false])
        let other = try parse(
            "[[guest]]\nid = \"vm1\"\nfollow = true\nqmp = \"/q\"\nreplay = \"replay\"\n[[guest]]\nid = \"vm2\"")
        #expect(other.guests.map { other.replays($0, recorded: nil) } == [true, false])
        #expect(throws: ConfigurationError.self) { try parse("[replay]\nmode = \"hold\"") }
    }

    @Test func emptyIsTheDefaults() throws {
        #expect(try parse("") == DaemonConfiguration())
        #expect(try parse("# only words\r\n[daemon]\r\n") == DaemonConfiguration())
        #expect(DaemonConfiguration().metrics.listen?.description == "127.0.0.1:9923")
    }

    @Test(arguments: [
        (
            "[daemon]\n\nresync_intervall = \"60s\"",
            "line 3: daemon.resync_intervall is unknown; did you mean resync_interval?"
        ),
        ("[metrcs]\n", "line 1: metrcs is unknown; did you mean metrics?"),
        ("[log]\ncolour = true", "line 2: log.colour is unknown; there are level"),
        ("[log]\nlevel = \"warn\"", "line 2: log.level must be one of \"debug\""),
        ("[log]\nlevel = 3", "not the number 3"),
        ("log = 3", "line 1: log must be a table, not the number 3"),
        ("[daemon]\nresync_interval = \"59s\"", "line 2: daemon.resync_interval must be a duration from 1min to 24h"),
        ("[daemon]\nresync_interval = 60", "daemon.resync_interval must be a duration"),
        ("[daemon]\nresync_interval = \"99999999999999999999s\"", "must be a duration"),
        ("[daemon]\nresync_interval = \"9999999999999999h\"", "must be a duration"),
        ("[daemon]\nreceive_buffer = 12", "line 2: daemon.receive_buffer must be a whole number of bytes from 65536"),
        ("[daemon]\nrepair_burst = 1.5", "not the number 1.5"),
        ("[daemon]\nrepair_burst = 2020-01-01", "not 2020-01-01"),
        ("[daemon]\nstate = \"relative\"", "line 2: daemon.state must be the absolute path"),
        ("[daemon]\nrepair_backoff_initial = \"1h\"", "line 2: daemon.repair_backoff_limit must be at least"),
        ("[metrics]\nlisten = \"localhost:9923\"", "line 2: metrics.listen must be an IP address and port"),
        ("[metrics]\nlisten = \"::1:9923\"", "metrics.listen must be an IP address and port"),
        ("[metrics]\nlisten = \"127.0.0.1:0\"", "metrics.listen must be an IP address and port"),
        ("[redirection]\nrequire_proof = \"yes\"", "line 2: redirection.require_proof must be true or false"),
        ("[[guest]]\nkind = \"bond\"", "line 1: guest[0].id is missing"),
        ("[[guest]]\nid = \"-vm\"", "line 2: guest[0].id must be 1 to 64 letters"),
        ("[[guest]]\nid = \"a\"\n[[guest]]\n\nid = \"a\"", "line 5: guest a is configured already, in line 2"),
        ("[guest]\nid = \"a\"", "line 1: guest must be tables, each headed by [[guest]]"),
        ("[[guest]]\nid = \"a\"\nfollow = true", "line 3: guest[0].follow needs guest[0].qmp"),
        (
            "[[guest]]\nid = \"a\"\ndomain = \"a\"\nfollow_rx_filter = true",
            "line 4: guest[0].follow_rx_filter needs guest[0].qmp"
        ),
        (
            "[[guest]]\nid = \"a\"\nqmp = \"/a\"\ndomain = \"a\"",
            "line 4: guest[0].domain and guest[0].qmp tell of the same events"
        ),
        ("[[guest]]\nid = \"a\"\ndomain = \"it's\"", "line 3: guest[0].domain must be libvirt's name of a domain"),
        ("[libvirt]\nevents_command = []", "line 2: libvirt.events_command must be an array of 1 to 64 strings"),
        ("[libvirt]\nevents_command = \"virsh\"", "line 2: libvirt.events_command must be an array of 1 to 64 strings"),
        ("[[guest]]\nid = \"a\"\naddresses_ip = [\"10.0.0.300\"]", "line 3: guest[0].addresses_ip[0]: \"10.0.0.300\""),
        ("[[guest]]\nid = \"a\"\nqmp = \"/\(String(repeating: "a", count: 107))\"", "at most 107 bytes"),
        ("[[guest]]\nid = \"a\"\nstandby_device = \"a b\"", "line 3: guest[0].standby_device must be the id"),
        ("[daemon\n", "line 1: a header is [name] or [[name]]"),
        ("[daemon]\n[daemon]", "line 2: daemon is there already, in line 1"),
        ("[[guest]]\nid = \"a\"\n[guest]", "line 3: guest is there already, in line 1"),
        ("[log]\n[[log]]", "line 2: log is there already, in line 1"),
        ("[log]\nlevel = \"info\"\n\nlevel = \"info\"", "line 4: level is there already, in line 2"),
        ("metrics.listen = \"off\"", "line 1: keys with dots are not used here: write [metrics]"),
        ("[a.b]", "line 1: a header is [name] or [[name]], without dots"),
        ("\n\"log\" = 1", "line 2: keys are written without quotation marks"),
        ("log = { level = \"info\" }", "line 1: inline tables are not used here"),
        ("[log]\nlevel = info", "line 2: info is no value: strings stand in quotation marks"),
        ("[log]\nlevel =", "line 2: a value is missing"),
        ("[log]\nlevel = \"info\" x", "line 2: nothing may follow here but a comment"),
        ("[log]\nlevel = \"\\z\"", "line 2: there is no such escape"),
        ("[log]\nlevel = \"\\ud800\"", "line 2: there is no such escape"),
        ("[[guest]]\nid = \"a\"\naddresses_ip = [\n\"::1\"\n\"::2\"]", "line 5: values of an array are parted by ','"),
    ])
    func wrong(text: String, says words: String) {
        let found = problems(text)
        #expect(found.contains { $0.contains(words) }, "\(found)")
    }

    @Test func allThatIsWrongIsToldInOrder() {
        let found = problems("[log]\nlevel = 1\n[bracket]\nmax_rate = -1\nx = 2\n[[guest]]\nfolow = true\nid = \"a\"")
        #expect(found.map { $0.prefix { $0 != ":" } } == ["line 2", "line 4", "line 5", "line 7"], "\(found)")
        let many = problems((0..<1000).map { "key\($0) = 1" }.joined(separator: "\n"))
        #expect(many.count == 50)
        #expect(problems("a = 1").first?.contains("there are daemon, metrics, log") == true)
    }

    @Test func files() throws {
        func failure(_ path: String) -> ConfigurationError? {
            do throws(ConfigurationError) {
                _ = try DaemonConfiguration.load(path: path)
                return nil
            } catch {
                return error
            }
        }
        let missing = try #require(failure("/nonexistent/fdbsteerd.toml"))
        #expect(missing.isMissing)
        #expect(missing.description == "/nonexistent/fdbsteerd.toml: cannot be read: No such file or directory")
        let device = try #require(failure("/dev/zero"))
        #expect(!device.isMissing && device.description == "/dev/zero: is not a regular file")
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let fifo = folder.path + "/fifo"
        try #require(mkfifo(fifo, 0o600) == 0)
        #expect(failure(fifo)?.description == "\(fifo): is not a regular file")
    }
}
