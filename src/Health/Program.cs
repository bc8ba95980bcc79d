using Platform.Health.Checks;
using Platform.Health.Heartbeats;
using Platform.Health.Status;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("healthdb");
builder.AddMessaging("health");

builder.AddStatus();
builder.AddChecks("healthdb");
builder.AddHeartbeats();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapHealth();
app.MapStatusPage();
app.MapHeartbeats();
app.MapDeadLetters("health");

app.Run();
