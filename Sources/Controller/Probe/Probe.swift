import FDB
import Glibc
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Probes where a NIC's MAC filters send frames while a guest leaves and enters its VF, and restores the NIC.
///
/// From the first change on SIGINT, SIGTERM and SIGHUP are held back and end the probe by its restoration; what SIGKILL
/// leaves, ``Reconcile`` puts back.
package struct Probe {
    let request: ProbeRequest
    /// Only plans.
    let dryRun: Bool

    package init(_ request: ProbeRequest, dryRun: Bool = false) {
        self.request = request
        self.dryRun = dryRun
    }

    /// - Parameter progress: gets the number of each step, how many there are, and its words, before it is taken.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    package func run(
        on host: inout Host, progress: (Int, Int, String) -> Void = { _, _, _ in }
    ) throws(ControllerError) -> ProbeReport {
        let clock = Stopwatch()
        try requireNoProbe(host.folder)
        let subject = try subject(on: &host)
        var probe = MACFilterProbe()
        var report = ProbeReport(
            outcome: .planned, nic: subject.nic, pf: request.pf, vf: request.vf, address: request.address.description)
        if dryRun {
            report.notes = ["would measure \(probe.states.map(\.description).joined(separator: ", "))"]
            return report
        }
        try host.kernel.requirePrivilege()
        let journal = try Journal(folder: host.folder)
        let signals = try ControllerError.system { () throws(SystemError) in try SignalSet([SIGINT, SIGTERM, SIGHUP]) }
        let record = try ProbeRecord.begin(subject.snapshot, in: journal)
        var run = ProbeRun(subject, request, signals)
        var action = probe.start()
        while true {
            if case .finish(let outcome) = action {
                return finish(outcome, report, probe, record, clock, host.folder)
            }
            var event = MACFilterProbe.Event.done
            do throws(ProbeFailure) {
                switch action {
                case .setUp:
                    progress(probe.number, probe.count, "set up")
                    try run.setUp(using: &host.kernel.socket)
                case .change(let change):
                    progress(probe.number, probe.count, change.words)
                    try run.change(change, using: &host.kernel.socket)
                case .measure(let state):
                    progress(probe.number, probe.count, "measure \(state)")
                    report.states += try run.measure(state, using: &host.kernel.socket)
                case .restore:
                    progress(probe.count + 1, probe.count, "restore")
                    let failures = ProbeRestore.restore(subject.snapshot, on: &host.kernel)
                    if !failures.isEmpty { throw ProbeFailure(failures.joined(separator: "; ")) }
                case .finish:
                    break
                }
            } catch {
                event = .failed(error.message)
            }
            if signals.isPending, action != .restore { event = .interrupted }
            action = probe.next(event)
        }
    }

    private func finish(
        _ outcome: MACFilterProbe.Outcome, _ measured: ProbeReport, _ probe: MACFilterProbe,
        _ record: borrowing ProbeRecord, _ clock: Stopwatch, _ folder: StateFolder
    ) -> ProbeReport {
        var report = measured
        report.totalNanoseconds = clock.elapsed
        for (state, reason) in probe.refused { report.refused[state.description] = reason }
        switch outcome {
        case .measured:
            report.outcome = .done
            if MACFilterVerdict.beganFiltered(report.states) {
                report.notes.append(
                    "no verdict: before the probe the NIC filtered this MAC already, though no list shows it, and afterwards "
                        + "it did not (igb keeps a MAC that a VF has taken off its list); probe again, or another MAC")
            } else {
                let verdict = MACFilterVerdict(report.states, refused: Set(probe.refused.keys))
                report.verdict = verdict
                report.words = verdict.words
            }
        case .stopped(let reason):
            report.outcome = .stopped
            report.failures = [reason]
        case .notRestored(let reasons):
            report.outcome = .notRestored
            report.failures = reasons
            return report
        }
        do throws(ControllerError) {
            try record.end()
        } catch {
            report.notes.append("\(error); \"fdbsteer reconcile\" will look at the NIC once more")
        }
        if report.verdict != nil, let note = StoredVerdict.store(report, now: Stopwatch.realTime, in: folder) {
            report.notes.append(note)
        }
        return report
    }

    /// One probe at a time: what another is changing, or has left behind, would be taken for the NIC as it was.
    private func requireNoProbe(_ folder: StateFolder) throws(ControllerError) {
        guard let journal = try Journal(reading: folder) else { return }
        for name in try ProbeRecord.names(in: journal) {
            guard let other = try ProbeRecord(name, in: journal), other.boot == journal.boot else { continue }
            if other.isLocked {
                throw ControllerError(.busy, "a probe of \(other.snapshot.pf) is running", remedy: "wait for it")
            }
            throw ControllerError(
                .precondition, "a probe of \(other.snapshot.pf) did not end", remedy: "run \"fdbsteer reconcile\" first"
            )
        }
    }

    /// Reads what speaks for and against a probe.
    private func subject(on host: inout Host) throws(ControllerError) -> ProbeSubject {
        let mac = request.address.mac
        let links = try host.kernel.links()
        let devlink = try host.kernel.devlink()
        let holders = try ControllerError.reading("the unicast lists") { () throws(NetlinkError) in
            try UnicastList.holders(of: mac, using: &host.kernel.socket)
        }
        let sightings = try ControllerError.reading("the bridges' entries") { () throws(NetlinkError) in
            try Sightings.read(of: [mac], on: links.bridges, using: &host.kernel.socket)
        }
        let records = try Journal(reading: host.folder)?.records() ?? []
        let owner = records.first { $0.guest.addresses.contains { $0.mac == mac } }
        return try ProbeCheck(
            request: request, links: links, devlink: devlink, holders: holders, sightings: sightings,
            owner: owner?.guest.id.text,
            guests: Dictionary(
                records.compactMap { record in
                    record.guest.nic.flatMap {
                        $0.pf.index == links[request.pf]?.index ? ($0.vf, record.guest.id.text) : nil
                    }
                }
            ) { $1 }
        ).subject()
    }
}
