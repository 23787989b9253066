// swift-tools-version: 6.2
import PackageDescription

/// Settings of every Swift target of the package.
let swift: [SwiftSetting] = [
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0335-existential-any.md
    .enableUpcomingFeature("ExistentialAny"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0444-member-import-visibility.md
    .enableUpcomingFeature("MemberImportVisibility"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0409-access-level-on-imports.md
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]
/// Programs that start in the middle of a switchover have no dynamic linker (docs/performance.md). scripts/build-release knows
/// a linker for them and sets the variable. Clang would then warn that -no-pie is unused.
let startsQuickly: [LinkerSetting] =
    Context.environment["FDBSTEER_STATIC_EXECUTABLES"] == nil
    ? [] : [.unsafeFlags(["-static-executable", "-Xclang-linker", "-Wno-unused-command-line-argument"])]
let c: [CSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "fdbsteer",
    products: [
        .executable(name: "fdbsteer", targets: ["fdbsteer"]),
        .executable(name: "fdbsteerd", targets: ["fdbsteerd"]),
        .executable(name: "fdbsteer-libvirt-hook", targets: ["fdbsteer-libvirt-hook"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        // Used only by the daemon.
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        // A second TOML parser, against which the tests compare.
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "CNetlink", cSettings: c),
        .target(name: "System", dependencies: ["CNetlink"], swiftSettings: swift),
        .target(name: "JSON", dependencies: ["System"], swiftSettings: swift),
        .target(name: "Netlink", dependencies: ["System", "CNetlink"], swiftSettings: swift),
        .target(name: "FDB", dependencies: ["Netlink", "System", "CNetlink"], swiftSettings: swift),
        .target(name: "Switchdev", dependencies: ["FDB", "Netlink", "System", "CNetlink"], swiftSettings: swift),
        .target(name: "QMP", dependencies: ["JSON"], swiftSettings: swift),
        .target(name: "Exposition", swiftSettings: swift),
        // Decides: it opens no socket and no file, and reads no clock.
        .target(name: "Policy", dependencies: ["FDB", "Switchdev", "QMP", "JSON"], swiftSettings: swift),
        // Remembers: it uses files, and knows no bridge.
        .target(
            name: "Records", dependencies: ["Policy", "FDB", "Switchdev", "JSON", "System", "CNetlink", "CSQLite"],
            swiftSettings: swift),
        // Acts: it changes bridges, NICs and guests' records.
        .target(
            name: "Controller",
            dependencies: [
                "Policy", "Records", "FDB", "Switchdev", "QMP", "JSON", "Exposition", "Netlink", "System", "CNetlink",
            ],
            swiftSettings: swift
        ),
        .executableTarget(
            name: "fdbsteer",
            dependencies: [
                "Controller", "LibvirtHook", "Policy", "Records", "FDB", "Switchdev", "System", "JSON", "Exposition",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swift,
            linkerSettings: startsQuickly
        ),
        .executableTarget(
            name: "fdbsteerd",
            dependencies: [
                "Configuration", "Controller", "Exposition", "FDB", "JSON", "MetricsServer", "Netlink", "Policy", "QMP",
                "Records", "Switchdev", "System", "Varlink",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift
        ),
        // The daemon's local API.
        .target(
            name: "Varlink",
            dependencies: ["CNetlink", "Controller", "Exposition", "FDB", "JSON", "Policy", "Records", "System"],
            swiftSettings: swift),
        .target(
            name: "MetricsServer",
            dependencies: [
                "System",
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: swift
        ),
        .target(name: "Configuration", dependencies: ["Policy", "FDB", "System"], swiftSettings: swift),
        .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
        .target(name: "LibvirtHook", dependencies: ["CExpat", "Policy", "FDB", "System"], swiftSettings: swift),
        .executableTarget(
            name: "fdbsteer-libvirt-hook", dependencies: ["LibvirtHook", "Controller", "Policy", "Records", "System"],
            swiftSettings: swift,
            linkerSettings: startsQuickly),
        .target(name: "CLab", path: "bench/CLab", cSettings: c),
        .target(
            name: "Lab", dependencies: ["CLab", "QMP", "JSON", "System"], path: "bench/Lab", swiftSettings: swift),
        .target(
            name: "LossMeter", dependencies: ["Lab", "CLab", "Pages", "System"], path: "bench/LossMeter",
            swiftSettings: swift),
        .target(name: "Pages", path: "bench/Pages", swiftSettings: swift),
        .executableTarget(
            name: "fdbsteer-bench",
            dependencies: [
                "LossMeter", "Pages", "Lab", "Controller", "Policy", "Records", "FDB", "JSON", "Netlink", "Switchdev",
                "System",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench/fdbsteer-bench",
            swiftSettings: swift
        ),
        // libnl-route: a second decoder, against which the tests compare.
        .systemLibrary(
            name: "CLibnlRoute", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-3-dev", "libnl-route-3-dev"])]),
        .target(name: "CNetlinkRoute", dependencies: ["CLibnlRoute"], cSettings: c),
        .testTarget(name: "SystemTests", dependencies: ["System"], swiftSettings: swift),
        .testTarget(name: "JSONTests", dependencies: ["JSON", "System"], swiftSettings: swift),
        .testTarget(name: "NetlinkTests", dependencies: ["Netlink", "FDB", "Lab", "System"], swiftSettings: swift),
        .testTarget(name: "QMPTests", dependencies: ["QMP", "JSON", "Lab", "System"], swiftSettings: swift),
        .testTarget(
            name: "FDBTests", dependencies: ["TestSupport", "FDB", "Netlink", "Lab", "System"], swiftSettings: swift),
        .testTarget(
            name: "SwitchdevTests",
            dependencies: ["Switchdev", "FDB", "Netlink", "Lab", "CNetlink", "CNetlinkRoute", "System"],
            swiftSettings: swift),
        .testTarget(
            name: "PolicyTests",
            dependencies: [
                "TestSupport", "Policy", "FDB", "Switchdev", "QMP", "JSON", "Netlink", "CNetlink", "Lab", "System",
            ],
            swiftSettings: swift),
        .target(
            name: "TestSupport",
            dependencies: ["Lab", "Records", "Policy", "FDB", "Switchdev", "Netlink", "CNetlink", "JSON", "System"],
            path: "Tests/Support", swiftSettings: swift),
        .testTarget(
            name: "RecordsTests",
            dependencies: [
                "TestSupport", "Records", "Policy", "FDB", "Switchdev", "JSON", "System", "CNetlink", "Lab",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "ControllerTests",
            dependencies: [
                "TestSupport", "Controller", "Policy", "Records", "FDB", "Netlink", "Switchdev", "Lab", "Exposition",
                "JSON", "QMP",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "VarlinkTests", dependencies: ["TestSupport", "Varlink", "Records", "System", "JSON", "Lab"],
            swiftSettings: swift),
        .testTarget(name: "ExpositionTests", dependencies: ["Exposition"], swiftSettings: swift),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: [
                "TestSupport", "Configuration", "Policy", "FDB", "Lab", .product(name: "TOMLKit", package: "TOMLKit"),
            ],
            swiftSettings: swift),
        .testTarget(
            name: "MetricsServerTests",
            dependencies: [
                "TestSupport", "MetricsServer", "Exposition", "Controller", "Policy", "Records", "JSON", "Lab",
                "System",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "LibvirtHookTests", dependencies: ["TestSupport", "LibvirtHook", "Policy", "FDB"],
            swiftSettings: swift),
        .testTarget(
            name: "LossMeterTests", dependencies: ["LossMeter", "Pages", "Lab"], swiftSettings: swift),
        // These tests run in the lab VM that scripts/test boots.
        .testTarget(
            name: "VMTests", dependencies: ["TestSupport", "Lab", "Switchdev", "Netlink"], swiftSettings: swift),
        .testTarget(
            name: "LabTests",
            dependencies: [
                "TestSupport", "Lab", "LossMeter", "CLab", "JSON", "QMP", "System", "fdbsteer", "fdbsteerd",
                "fdbsteer-bench",
                "fdbsteer-libvirt-hook",
            ],
            swiftSettings: swift),
    ]
)
