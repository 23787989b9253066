import Exposition
import FDB
import Glibc
import Lab
import Netlink
import Policy
import Records
import Switchdev
import TestSupport
import Testing

@testable import Controller

extension [MetricFamily] {
    /// Whether the page has a line.
    fileprivate func has(_ line: String) -> Bool {
        String(decoding: Exposition.render(self), as: UTF8.self).split(separator: "\n").contains { $0 == line }
    }
}

struct MetricsTests {
    @Test func nothingYetIsAllZeros() throws {
        let folder = try Folder()
        var reader = MetricsReader(folder: folder.state)
        let families = try reader.read()
        #expect(
            families.has(
                "fdbsteer_redirections_total{direction=\"remote\",strategy=\"bracket\",outcome=\"not_rolled_back\"} 0"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_count{phase=\"proof\"} 0"))
        #expect(families.has("fdbsteer_rollbacks_total 0"))
        #expect(families.has("fdbsteer_guest_interfaces{side=\"primary\"} 0"))
        #expect(families.has("fdbsteer_guest_states{state=\"interrupted\"} 0"))
        #expect(families.has("fdbsteer_entries{state=\"pinned\"} 0"))
        #expect(families.has("fdbsteer_build_info{version=\"\(Build.version)\"} 1"))
        // Reading creates no files.
        #expect(access(folder.state.historyFile, F_OK) != 0 && access(folder.state.stateFile, F_OK) != 0)
    }

    @Test func theHistoryIsFoldedAsItGrows() throws {
        let folder = try Folder()
        var reader = MetricsReader(folder: folder.state)
        #expect(try reader.read().has("fdbsteer_rollbacks_total 0"))
        try folder.append(.prepare, to: .primary)
        try folder.append(proof: 3_000_000)
        let done = "fdbsteer_redirections_total{direction=\"standby\",strategy=\"cut\",outcome=\"done\"}"
        var families = try reader.read()
        #expect(families.has(done + " 1"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_bucket{phase=\"move\",le=\"2e-05\"} 0"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_bucket{phase=\"move\",le=\"5e-05\"} 1"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_sum{phase=\"proof\"} 0.003"))
        // A failed redirection is counted, but has no duration.
        try folder.append(.abort, to: .primary, .rolledBack)
        try folder.append(.release, to: .primary, .notRolledBack)
        try folder.append(.switch, to: .remote, .refused)
        families = try reader.read()
        #expect(families.has(done + " 1"))
        #expect(
            families.has(
                "fdbsteer_redirections_total{direction=\"primary\",strategy=\"cut\",outcome=\"rolled_back\"} 1"))
        #expect(
            families.has("fdbsteer_redirections_total{direction=\"remote\",strategy=\"cut\",outcome=\"refused\"} 1"))
        #expect(families.has("fdbsteer_rollbacks_total 2"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_count{phase=\"move\"} 1"))
        // More rows than one read takes.
        for _ in 0..<1100 { try folder.append() }
        try folder.append()
        #expect(try reader.read().has(done + " 1102"))
        #expect(try reader.read().has(done + " 1102"))
        // A reader that starts now gets the same result.
        var another = MetricsReader(folder: folder.state)
        #expect(Exposition.render(try another.read()) == Exposition.render(try reader.read()))
        // Another history with the same name is counted from its beginning.
        for path in [folder.state.historyFile, folder.state.eventsFile] { unlink(path) }
        try folder.append()
        #expect(try reader.read().has(done + " 1"))
    }

    @Test func strangeWordsMakeNoNewLabels() throws {
        let folder = try Folder()
        try folder.append()
        _ = try HistoryReading.entries(HistoryFilter(limit: 1), in: folder.state)
        let database = try Database(path: folder.state.historyFile)
        try database.execute(
            "UPDATE redirection SET side_after = 'x', strategy = 'y', outcome = 'z', evidence = 'no', move_ns = -4")
        var reader = MetricsReader(folder: folder.state)
        #expect(
            try reader.read().has(
                "fdbsteer_redirections_total{direction=\"other\",strategy=\"other\",outcome=\"other\"} 1"))
    }

    /// Histories of version 1 had no evidence, so nothing is known about the proof.
    @Test func anEarlierHistory() throws {
        let folder = try Folder()
        try folder.append(proof: 5)
        _ = try HistoryReading.entries(HistoryFilter(limit: 1), in: folder.state)
        let database = try Database(path: folder.state.historyFile)
        try database.execute(
            "ALTER TABLE redirection DROP COLUMN evidence; ALTER TABLE redirection DROP COLUMN by_whom; "
                + "ALTER TABLE redirection DROP COLUMN uid; ALTER TABLE redirection DROP COLUMN signal; "
                + "ALTER TABLE redirection DROP COLUMN waited_ns; ALTER TABLE redirection DROP COLUMN bracket_change; "
                + "DROP TABLE refusal; DROP TABLE note; DROP TABLE log; PRAGMA user_version = 1"
        )
        unlink(folder.state.eventsFile)
        var reader = MetricsReader(folder: folder.state)
        let families = try reader.read()
        #expect(families.has("fdbsteer_redirection_duration_seconds_count{phase=\"move\"} 1"))
        #expect(families.has("fdbsteer_redirection_duration_seconds_count{phase=\"proof\"} 0"))
    }

    @Test func theJournalIsCounted() throws {
        let folder = try Folder()
        var reader = MetricsReader(folder: folder.state)
        _ = try reader.read()
        func identity(_ name: String, _ index: Int32, _ isEswitchPort: Bool = false) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: isEswitchPort)
        }
        func guest(_ name: String, _ addresses: Range<Int>, _ side: Side) throws -> GuestInterface {
            GuestInterface(
                id: try GuestID(name), bridge: identity("br0", 1), primary: identity("p" + name, 2, true),
                standby: identity("s" + name, 3), uplink: nil,
                addresses: try addresses.map { try Address(mac: MACAddress(value: 0x0200_0000_0000 + UInt64($0))) },
                side: side, isSticky: false)
        }
        do {
            let journal = try Journal(folder: folder.state)
            let one = try guest("vm1", 0..<3, .primary)
            let two = try guest("vm2", 3..<5, .standby)
            var first = try journal.claim(preparing: one.id) { () throws(ControllerError) in one }
            var families = try reader.read()
            #expect(families.has("fdbsteer_guest_states{state=\"preparing\"} 1"))
            #expect(families.has("fdbsteer_entries{state=\"changing\"} 3"))
            try first.write(.settled(.primary, proof: .earlier(.missing), endsBracket: false))
            let second = try journal.claim(preparing: two.id) { () throws(ControllerError) in two }
            try second.write(.settled(.standby, proof: .shown, endsBracket: false), shown: .proven)
            families = try reader.read()
            #expect(families.has("fdbsteer_guest_states{state=\"pinned\"} 2"))
            #expect(families.has("fdbsteer_entries{state=\"pinned\"} 5"))
            #expect(families.has("fdbsteer_entries_unproven 3"))
            // Those that an alert names.
            for line in [
                "guest_side{guest=\"vm1\",side=\"primary\"} 1", "guest_side{guest=\"vm2\",side=\"standby\"} 1",
                "guest_state{guest=\"vm2\",state=\"pinned\"} 1", "guest_entries_unproven{guest=\"vm1\"} 3",
                "guest_entries_unproven{guest=\"vm2\"} 0",
                "guest_info{guest=\"vm1\",bridge=\"br0\",primary=\"pvm1\",standby=\"svm1\",uplink=\"\",kind=\"unknown\"} 1",
            ] {
                #expect(families.has("fdbsteer_" + line), "\(line)")
            }
            #expect(
                String(decoding: Exposition.render(families), as: UTF8.self).contains(
                    "since_time_seconds{guest=\"vm2\"} 1"))
            #expect(families.has("fdbsteer_guest_interfaces{side=\"primary\"} 1"))
            #expect(families.has("fdbsteer_guest_interfaces{side=\"standby\"} 1"))
            try first.reread()
            try first.write(.intent(.switching, goal: .standby))
            families = try reader.read()
            #expect(families.has("fdbsteer_guest_states{state=\"switching\"} 1"))
            #expect(families.has("fdbsteer_entries_unproven 0"))
        }
        // The locks went with the claims: a process that has written nothing since counts as gone.
        #expect(try reader.read().has("fdbsteer_guest_states{state=\"interrupted\"} 1"))
        #expect(try reader.read().has("fdbsteer_guest_state{guest=\"vm1\",state=\"interrupted\"} 1"))
        for name in ["vm1", "vm2"] {
            let path = "\(folder.path)/guests/\(name).json"
            let boot = TextFile.read("/proc/sys/kernel/random/boot_id").dropLast()
            try TextFile.write(TextFile.read(path).replacing(boot, with: "earlier"), to: path + ".new")
            rename(path + ".new", path)
        }
        let families = try reader.read()
        #expect(families.has("fdbsteer_guest_states{state=\"stale\"} 2"))
        #expect(families.has("fdbsteer_entries{state=\"stale\"} 5"))
        #expect(families.has("fdbsteer_guest_interfaces{side=\"standby\"} 0"))
    }

    @Test func aPageIsKeptForItsTime() throws {
        let folder = try Folder()
        let page = MetricsPage(folder: folder.state, counters: DaemonCounters(startedAt: 0), lifetime: .max)
        let first = try page.bytes()
        try folder.append()
        page.count { $0.primaryLosses += 1 }
        #expect(try page.bytes() == first)
        let always = MetricsPage(folder: folder.state, counters: DaemonCounters(startedAt: 0), lifetime: 0)
        #expect(try String(decoding: always.bytes(), as: UTF8.self).contains("\nfdbsteer_primary_losses_total 0\n"))
        always.count { $0.primaryLosses += 1 }
        try folder.append()
        let text = try String(decoding: always.bytes(), as: UTF8.self)
        #expect(text.contains("\nfdbsteer_primary_losses_total 1\n"))
        #expect(text.contains("\nfdbsteer_redirection_duration_seconds_count{phase=\"move\"} 2\n"))
    }

    @Test func whatCannotBeReadIsSaid() throws {
        let folder = try Folder()
        try TextFile.write("no database, but long enough to be looked at as one", to: folder.state.historyFile)
        var reader = MetricsReader(folder: folder.state)
        var error: ControllerError?
        do throws(ControllerError) { _ = try reader.read() } catch let failure { error = failure }
        #expect(error?.code == .precondition && error?.message.contains("history.db: file is not a database") == true)
        #expect(error?.remedy?.contains("move that file away") == true)
        // A daemon's page has the rest, and says that something is wrong.
        let page = MetricsPage(folder: folder.state, counters: DaemonCounters(startedAt: 0), lifetime: 0)
        let text = try String(decoding: page.bytes(), as: UTF8.self)
        #expect(text.contains("\nfdbsteer_daemon_troubles 1\n") && text.contains("\nfdbsteer_guest_interfaces{"))
        #expect(!text.contains("fdbsteer_redirections_total"))
        // The reader recovers.
        unlink(folder.state.historyFile)
        try folder.append()
        #expect(try reader.read().has("fdbsteer_redirection_duration_seconds_count{phase=\"move\"} 1"))
        let mended = try String(decoding: page.bytes(), as: UTF8.self)
        #expect(mended.contains("\nfdbsteer_daemon_troubles 0\n") && mended.contains("fdbsteer_redirections_total"))
    }

    @Test func theDaemonsCounters() throws {
        var counters = DaemonCounters(startedAt: 1_700_000_000_500_000_000)
        let before = counters.families
        #expect(before.has("fdbsteer_drift_repairs_total{cause=\"stolen\"} 0"))
        #expect(before.has("fdbsteer_netlink_errors_total{errno=\"EBUSY\"} 0"))
        #expect(before.has("fdbsteer_resyncs_total{reason=\"overrun\"} 0"))
        #expect(before.has("fdbsteer_signal_wait_seconds_count{signal=\"qmp\"} 0"))
        #expect(before.has("fdbsteer_start_time_seconds 1700000000.5"))
        counters.countRepair(.removed)
        counters.countError("ENOBUFS")
        counters.countResync(.start)
        counters.countWait(for: "qmp", nanoseconds: 7_000_000)
        counters.qmpConnected[try GuestID("vm:1")] = true
        counters.primaryLosses += 2
        counters.netlinkOverruns += 1
        counters.driftBackoffs += 1
        counters.driftFights = 1
        counters.lostPrimaries = [try GuestID("vm1"): 0, try GuestID("vm2"): 3]
        counters.troubles = 2
        for line in [
            "drift_repairs_total{cause=\"removed\"} 1", "netlink_errors_total{errno=\"ENOBUFS\"} 1",
            "resyncs_total{reason=\"start\"} 1", "signal_wait_seconds_bucket{signal=\"qmp\",le=\"0.01\"} 1",
            "signal_wait_seconds_bucket{signal=\"qmp\",le=\"0.005\"} 0", "qmp_connected{guest=\"vm:1\"} 1",
            "primary_losses_total 2", "netlink_overruns_total 1", "drift_backoffs_total 1", "drift_fights 1",
            "guest_primary_losses_total{guest=\"vm1\"} 0", "guest_primary_losses_total{guest=\"vm2\"} 3",
            "daemon_troubles 2",
        ] {
            #expect(counters.families.has("fdbsteer_" + line), "\(line)")
        }
    }

    @Test func familiesOfAVerdict() throws {
        let verdict = try #require(MACFilterVerdict(record: "yyy--yy-n with-care make-before-break"))
        let stored = StoredVerdict(
            nic: .init(driver: "a\"b", pciID: "1:2", firmware: "", eswitchMode: "none"), time: 1,
            verdict: verdict, states: [])
        let page = String(decoding: Exposition.render(StoredVerdict.families([stored])), as: UTF8.self)
        let labels = "driver=\"a\\\"b\",pci_id=\"1:2\",firmware=\"\",eswitch_mode=\"none\""
        #expect(page.contains("fdbsteer_nic_usable_for_failover{\(labels),verdict=\"with-care\"} 1\n"))
        #expect(page.contains("fdbsteer_nic_mac_filter{\(labels),finding=\"stale_filter\"} 1\n"))
    }
}
