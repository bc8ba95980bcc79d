using System.Diagnostics.Metrics;

namespace Platform.Compliance;

/// <summary>What the service counts.</summary>
public sealed class ComplianceMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Compliance");
    private readonly Counter<long> _appended;
    private readonly Counter<long> _verifications;
    private readonly Counter<long> _verificationFailures;
    private readonly Counter<long> _sealingFailures;
    private readonly Counter<long> _erasures;

    public ComplianceMetrics()
    {
        _appended = _meter.CreateCounter<long>("compliance_records_appended", null, "Audit records chained by this process.");
        _verifications = _meter.CreateCounter<long>("compliance_verifications", null, "Times a chain, or the newest part of one, was verified.");
        _verificationFailures = _meter.CreateCounter<long>("compliance_verification_failures", null, "Verifications that found a fault. Anything but 0 means tampering or data loss.");
        _sealingFailures = _meter.CreateCounter<long>("compliance_sealing_failures", null, "Times that signing or keeping the heads failed.");
        _erasures = _meter.CreateCounter<long>("compliance_subjects_erased", null, "Subjects whose key was destroyed.");
    }

    public void Appended() => _appended.Add(1);

    public void Verified(bool ok)
    {
        _verifications.Add(1);
        _verificationFailures.Add(ok ? 0 : 1);
    }

    public void SealingFailed() => _sealingFailures.Add(1);

    public void Erased() => _erasures.Add(1);

    public void Dispose() => _meter.Dispose();
}
