import Configuration
import Controller
import Logging
import Policy

/// The configuration file, and what it said at the start.
struct ConfigurationFile {
    let path: String
    /// The default file may be missing; one that was named may not.
    private let isOptional: Bool
    let current: DaemonConfiguration
    /// There was none at the start.
    let isMissing: Bool

    /// - Parameter path: nil for the default file.
    init(_ path: String?) throws(ConfigurationError) {
        self.path = path ?? DaemonConfiguration.defaultPath
        isOptional = path == nil
        let found = try ConfigurationFile.read(self.path, isOptional: isOptional)
        isMissing = found == nil
        current = found ?? DaemonConfiguration()
    }

    /// What it says now.
    func read() throws(ConfigurationError) -> DaemonConfiguration {
        try ConfigurationFile.read(path, isOptional: isOptional) ?? DaemonConfiguration()
    }

    /// - Returns: nil when there is no file, and none is needed.
    private static func read(_ path: String, isOptional: Bool) throws(ConfigurationError) -> DaemonConfiguration? {
        do throws(ConfigurationError) {
            return try DaemonConfiguration.load(path: path)
        } catch {
            guard error.isMissing, isOptional else { throw error }
            return nil
        }
    }
}

extension Keeper {
    /// Applies what the configuration says of guests.
    mutating func apply(_ configuration: DaemonConfiguration) {
        limits = configuration.repairLimits
        setBracketTimeout(configuration.bracket.timeout)
        options = configuration.verbOptions
        setObserved(configuration.observed)
        trailLimits.silence = configuration.daemon.departureSilence
        setAsking(configuration.askingRules)
    }
}

extension DaemonConfiguration {
    /// Who is asked.
    var askingRules: Asking.Rules {
        var rules = Asking.Rules()
        rules.isEnabled = ask.enabled
        for guest in guests {
            if !guest.ask { rules.excluded.insert(guest.id) }
            if !guest.addressesIP.isEmpty { rules.ips[guest.id] = guest.addressesIP }
        }
        return rules
    }

    var repairLimits: RepairBudget.Limits {
        RepairBudget.Limits(
            burst: daemon.repairBurst, firstWait: daemon.repairBackoffInitial, longestWait: daemon.repairBackoffLimit)
    }

    var verbOptions: VerbOptions {
        var options = VerbOptions(requireProof: redirection.requireProof, proofTimeout: redirection.proofTimeout)
        options.bracketMaxRate = UInt64(bracket.maxRate)
        return options
    }

    /// Guests that are only observed.
    var observed: Observed {
        Observed(all: !daemon.act, guests: Set(guests.filter { !$0.act }.map(\.id)))
    }

    var logLevel: Logger.Level {
        switch log.level {
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }
}
